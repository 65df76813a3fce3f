// esbuild puts it beside the bundle.
declare module "*.css";
