import "./app.css";
import { start, type View } from "./shell";
import { editor } from "./views/editor";
import { incidents } from "./views/incidents";
import { jobs } from "./views/jobs";
import { pipeline } from "./views/pipeline";
import { pipelines } from "./views/pipelines";
import { playground } from "./views/playground";

const one: View = (context) => {
  const [name, edit] = context.path;
  return name === undefined ? pipelines(context) : edit === "edit" ? editor(context) : pipeline(context);
};

start({ pipelines: one, incidents, playground, jobs });
