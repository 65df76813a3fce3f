//! What the series of a scenario are, and the constants that make each its own.

use tsdb::Labels;
use tsdb::labels::METRIC_NAME;

use crate::chance::Chance;
use crate::incident::IncidentKind;

/// What a series measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeriesKind {
    /// `node_cpu_utilisation`: percent, 0 to 100; daily season.
    Cpu,
    /// `http_requests_per_second`: daily and weekly season, noise in proportion to the level.
    RequestRate,
    /// `http_requests_total`: the same requests as a counter, reset by the nightly restart.
    RequestCounter,
    /// `http_request_duration_seconds_p99`: log-normal, longer under load.
    Latency,
    /// `http_request_errors_ratio`: 0 to 1, small and skewed.
    ErrorRatio,
    /// `process_resident_memory_bytes`: grows from one nightly restart to the next.
    Memory,
    /// `queue_depth`: mostly 0, with a burst every hour.
    QueueDepth,
    /// `node_filesystem_used_bytes`: slow growth, logs rotated daily.
    DiskUsage,
    /// `node_network_transmit_bytes_per_second`: little traffic and one daily job.
    Network,
    /// `node_hwmon_temp_celsius`: follows the load, with a slow drift.
    Temperature,
}

impl SeriesKind {
    /// All kinds, in the order of the rows of one host.
    pub const ALL: [Self; 10] = [
        Self::Cpu,
        Self::RequestRate,
        Self::RequestCounter,
        Self::Latency,
        Self::ErrorRatio,
        Self::Memory,
        Self::QueueDepth,
        Self::DiskUsage,
        Self::Network,
        Self::Temperature,
    ];

    /// The metric's name.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Cpu => "node_cpu_utilisation",
            Self::RequestRate => "http_requests_per_second",
            Self::RequestCounter => "http_requests_total",
            Self::Latency => "http_request_duration_seconds_p99",
            Self::ErrorRatio => "http_request_errors_ratio",
            Self::Memory => "process_resident_memory_bytes",
            Self::QueueDepth => "queue_depth",
            Self::DiskUsage => "node_filesystem_used_bytes",
            Self::Network => "node_network_transmit_bytes_per_second",
            Self::Temperature => "node_hwmon_temp_celsius",
        }
    }

    /// What can go wrong with it.
    pub fn incidents(self) -> &'static [IncidentKind] {
        use IncidentKind::*;
        match self {
            Self::Cpu => &[Spike, LevelShift, MissingPeak],
            Self::RequestRate | Self::RequestCounter => &[Outage, Dip, Spike, MissingPeak],
            Self::Latency => &[LatencyDegradation],
            Self::ErrorRatio => &[ErrorBurst],
            Self::Memory => &[Leak],
            Self::QueueDepth => &[QueueBuildUp],
            Self::DiskUsage => &[LevelShift],
            Self::Network => &[Spike, MissingPeak],
            Self::Temperature => &[Spike, LevelShift],
        }
    }

    /// The lowest and the highest level of a series of this kind, in its unit. What the level is, `shape` says.
    fn levels(self) -> (f64, f64) {
        match self {
            Self::Cpu => (35.0, 55.0),
            Self::RequestRate | Self::RequestCounter => (40.0, 400.0),
            Self::Latency => (0.04, 0.25),
            Self::ErrorRatio => (0.002, 0.008),
            Self::Memory => (3e8, 2e9),
            Self::QueueDepth => (15.0, 40.0),
            Self::DiskUsage => (1e11, 5e11),
            Self::Network => (1e6, 4e6),
            Self::Temperature => (38.0, 46.0),
        }
    }
}

const SERVICES: [&str; 12] = [
    "checkout",
    "search",
    "cart",
    "catalogue",
    "payments",
    "login",
    "profile",
    "orders",
    "shipping",
    "reviews",
    "media",
    "pricing",
];
const ROUTES: [&str; 4] = ["/", "/items", "/items/:id", "/submit"];
const ZONES: [&str; 3] = ["a", "b", "c"];

/// One host with its service: what its series have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    number: usize,
    /// The chance that all its series share.
    pub(crate) chance: Chance,
    /// The load in the dead of night, where the daily peak is 1.
    pub(crate) trough: f64,
    /// The time of day of the peak, as a part of a UTC day.
    pub(crate) peak: f64,
    /// The time of day of the restart.
    pub(crate) restart: f64,
    /// Whether the autoscaler takes it away now and then.
    pub(crate) comes_and_goes: bool,
}

impl Host {
    /// The host of that number.
    pub(crate) fn new(seed: Chance, number: usize) -> Self {
        let chance = seed.of(number as u64);
        Self {
            number,
            chance,
            trough: chance.between(0, 0.3, 0.5),
            peak: chance.between(1, 0.5, 0.65),
            restart: chance.between(2, 0.08, 0.2),
            comes_and_goes: chance.uniform(3) < 0.12,
        }
    }

    /// The labels of its series of that kind. The number is in `instance`, so no two hosts share one.
    fn labels(&self, kind: SeriesKind) -> Labels {
        let service = SERVICES[self.number % SERVICES.len()];
        let route = ROUTES[self.number / SERVICES.len() % ROUTES.len()];
        let node = format!("10.{}.{}.{}:9100", self.number >> 16, self.number >> 8 & 0xff, self.number & 0xff);
        let app = node.replace(":9100", ":8080");
        let zone = ZONES[self.number % ZONES.len()];
        let own: &[(&str, &str)] = match kind {
            SeriesKind::Cpu => &[("job", "node"), ("instance", &node)],
            SeriesKind::RequestRate | SeriesKind::RequestCounter => {
                &[("job", "app"), ("instance", &app), ("service", service), ("route", route), ("code", "200")]
            }
            SeriesKind::Latency | SeriesKind::ErrorRatio => {
                &[("job", "app"), ("instance", &app), ("service", service), ("route", route)]
            }
            SeriesKind::Memory => &[("job", "app"), ("instance", &app), ("service", service)],
            SeriesKind::QueueDepth => &[("job", "queue"), ("instance", &app), ("queue", service)],
            SeriesKind::DiskUsage => &[("job", "node"), ("instance", &node), ("mountpoint", "/data")],
            SeriesKind::Network => &[("job", "node"), ("instance", &node), ("device", "eth0")],
            SeriesKind::Temperature => &[("job", "node"), ("instance", &node), ("sensor", "temp1")],
        };
        let pairs = own.iter().copied().chain([(METRIC_NAME, kind.metric()), ("zone", zone)]);
        Labels::new(pairs).expect("the names above are not empty and differ")
    }
}

/// One series: its name and the constants of its shape.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) kind: SeriesKind,
    pub(crate) host: Host,
    pub(crate) level: f64,
    /// When its daily job runs: the middle as a part of a UTC day, and the length in days.
    pub(crate) job: (f64, f64),
    /// Noise from point to point.
    pub(crate) noise: Chance,
    /// Slow noise.
    pub(crate) drift: Chance,
    /// When incidents come.
    pub(crate) incidents: Chance,
    /// Which scrapes are missing.
    pub(crate) gaps: Chance,
    /// Whether it has incidents at all: the others are there to count false alarms.
    pub(crate) has_incidents: bool,
}

impl Series {
    /// The series of that row.
    pub(crate) fn new(seed: Chance, row: usize) -> Self {
        let kind = SeriesKind::ALL[row % SeriesKind::ALL.len()];
        let host = Host::new(seed, row / SeriesKind::ALL.len());
        // The counter counts the very requests of the rate, and shares its incidents.
        let twin = if kind == SeriesKind::RequestCounter { SeriesKind::RequestRate } else { kind };
        let own = host.chance.of(100 + twin as u64);
        let (low, high) = kind.levels();
        Self {
            kind,
            host,
            level: own.between(0, low, high),
            job: (own.between(1, 0.05, 0.9), own.between(2, 0.04, 0.08)),
            noise: own.of(3),
            drift: own.of(4),
            incidents: own.of(5),
            gaps: host.chance.of(200 + kind as u64),
            has_incidents: !host.comes_and_goes && own.uniform(6) < 0.6,
        }
    }

    /// Its name.
    pub(crate) fn labels(&self) -> Labels {
        self.host.labels(self.kind)
    }
}
