//! The process itself: its build, and what it takes of the machine.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tsdb::Timestamp;

use super::FloatGauge;

/// Registers what holds for the process, which began at `start`.
pub(super) fn register(registry: &mut Registry, start: Timestamp) {
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The program's version", build);
    let started = FloatGauge::default();
    started.set(start.seconds());
    registry.register("process_start_time_seconds", "When the process started", started);
    registry.register_collector(Box::new(Process));
}

/// Looks when it is asked. What the system doesn't tell is left out: on Linux it tells all.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut put = |name: &str, help: &str, metric: &dyn Shown| metric.put(&mut encoder, name, help);
        let failed = ConstCounter::new(crate::database::failures());
        put("database_errors", "Statements that the database refused or did not answer.", &failed)?;
        if let Some(seconds) = cpu_seconds() {
            put("process_cpu_seconds", "Time that the processor worked for the process.", &ConstCounter::new(seconds))?;
        }
        if let Some(bytes) = resident_bytes() {
            put("process_resident_memory_bytes", "Memory that the process holds.", &ConstGauge::new(bytes))?;
        }
        if let Some(files) = open_files() {
            put("process_open_fds", "Files and connections that the process has open.", &ConstGauge::new(files))?;
        }
        Ok(())
    }
}

/// A figure of any type.
trait Shown {
    fn put(&self, encoder: &mut DescriptorEncoder, name: &str, help: &str) -> Result<(), fmt::Error>;
}

impl<M: EncodeMetric> Shown for M {
    fn put(&self, encoder: &mut DescriptorEncoder, name: &str, help: &str) -> Result<(), fmt::Error> {
        self.encode(encoder.encode_descriptor(name, help, None, self.metric_type())?)
    }
}

/// The fields of the process's `stat` that come after its name, which may hold anything.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    // The kernel tells programs hundredths of a second, however fine its own clock is.
    Some((user + system) as f64 / 100.0)
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn open_files() -> Option<i64> {
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_all() {
        assert!(cpu_seconds().is_some_and(|seconds| seconds.is_finite()));
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(open_files().is_some_and(|files| files > 2));
    }
}
