//! The log for machines: one object a line, and everything in it at the top.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes `timestamp`, `level`, `target`, `message`, the event's own fields, and those of the spans that it lies in:
/// `request_id`, `run`, `pipeline` and so on, the innermost where two have the same name.
pub(super) struct Flat;

impl<S, N> FormatEvent<S, N> for Flat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        let mut put = |name: &str, value: String| drop(line.insert(name.to_owned(), value.into()));
        put("timestamp", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        put("level", event.metadata().level().to_string());
        put("target", event.metadata().target().to_owned());
        let mut fields = String::new();
        context.field_format().format_fields(Writer::new(&mut fields), event)?;
        merge(&mut line, &fields);
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                merge(&mut line, fields);
            }
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Adds `fields`, an object as text, to what `line` doesn't have yet. Fields `otel.…` are for traces only.
fn merge(line: &mut Map<String, Value>, fields: &str) {
    let fields: Map<String, Value> = serde_json::from_str(fields).unwrap_or_default();
    for (name, value) in fields.into_iter().filter(|(name, _)| !name.starts_with("otel.")) {
        line.entry(name).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn fields_of_spans_are_at_the_top_and_the_innermost_counts() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(Flat)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let request = tracing::info_span!(
                "request",
                request_id = "r1",
                otel.kind = "server",
                pipeline = "outer",
                level = "not this"
            );
            let pass = tracing::info_span!(parent: &request, "pass", run = tracing::field::Empty, pipeline = "cpu");
            pass.record("run", "p1");
            pass.in_scope(|| tracing::warn!(job = "j1", samples = 3, "a \"quoted\"\nmessage"));
            tracing::info!("alone");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let mut found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut found {
            assert!(line.as_object_mut().unwrap().remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'));
        }
        let target = "server::cli::log::json::tests";
        let expected = [
            json!({
                "level": "WARN", "target": target, "message": "a \"quoted\"\nmessage", "job": "j1", "samples": 3,
                "pipeline": "cpu", "run": "p1", "request_id": "r1",
            }),
            json!({"level": "INFO", "target": target, "message": "alone"}),
        ];
        assert_eq!(found, expected);
    }
}
