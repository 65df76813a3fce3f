//! The value of every kind of series at a point.

use std::f64::consts::TAU;

use crate::chance::Chance;
use crate::clock::Moment;
use crate::incident::{IncidentKind, Upset};
use crate::series::{Host, Series, SeriesKind};

/// What the requests of a weekend are, where a working day's are 1.
const WEEKEND: f64 = 0.92;

/// Days from one deployment to the next, on average.
const DEPLOY_DAYS: f64 = 9.0;

impl Series {
    /// The value at a point; for the counter, what is added to it in a second.
    pub(crate) fn value(&self, at: Moment, upset: Option<Upset>) -> f64 {
        match self.kind {
            SeriesKind::Cpu => self.cpu(at, upset),
            SeriesKind::RequestRate | SeriesKind::RequestCounter => self.requests(at, upset),
            SeriesKind::Latency => self.latency(at, upset),
            SeriesKind::ErrorRatio => self.error_ratio(at, upset),
            SeriesKind::Memory => self.memory(at, upset),
            SeriesKind::QueueDepth => self.queue_depth(at, upset),
            SeriesKind::DiskUsage => self.disk_usage(at, upset),
            SeriesKind::Network => self.network(at, upset),
            SeriesKind::Temperature => self.temperature(at, upset),
        }
    }

    /// `level` is what the daily peak adds to an idle machine, in percent.
    fn cpu(&self, at: Moment, upset: Option<Upset>) -> f64 {
        let load = self.host.load(at, missing_peak(upset));
        let usual = 5.0 + self.level * load * self.host.deploy(at) + 1.8 * self.noise.normal(at.index);
        let value = match upset {
            Some(upset) if upset.kind == IncidentKind::Spike => usual + (97.0 - usual) * upset.size(0.85, 1.0),
            Some(upset) if upset.kind == IncidentKind::LevelShift => usual + upset.size(22.0, 32.0),
            _ => usual,
        };
        value.clamp(0.0, 100.0)
    }

    /// `level` is the rate at the daily peak.
    fn requests(&self, at: Moment, upset: Option<Upset>) -> f64 {
        let load = self.host.load(at, missing_peak(upset));
        let usual = self.level * load * (1.0 + 0.05 * self.noise.normal(at.index));
        usual
            * match upset {
                Some(upset) if upset.kind == IncidentKind::Outage => 0.0,
                Some(upset) if upset.kind == IncidentKind::Dip => 1.0 - upset.size(0.55, 0.75),
                Some(upset) if upset.kind == IncidentKind::Spike => 1.0 + upset.size(1.0, 2.0),
                _ => 1.0,
            }
    }

    /// `level` is the median without load, in seconds.
    fn latency(&self, at: Moment, upset: Option<Upset>) -> f64 {
        let load = self.host.load(at, 0.0);
        let spread = 0.08 * self.noise.normal(at.index) + 0.05 * self.drift.drift(at.age * 8.0);
        let usual = self.level * self.host.deploy(at) * (1.0 + 0.8 * load * load) * libm::exp(spread);
        usual * (1.0 + upset.map_or(0.0, |upset| upset.size(1.5, 3.0)))
    }

    /// `level` is the median.
    fn error_ratio(&self, at: Moment, upset: Option<Upset>) -> f64 {
        let usual = self.level * libm::exp(0.25 * self.noise.normal(at.index));
        (usual + upset.map_or(0.0, |upset| upset.size(0.08, 0.3))).clamp(0.0, 1.0)
    }

    /// `level` is what the process has right after its restart, in bytes.
    fn memory(&self, at: Moment, upset: Option<Upset>) -> f64 {
        let growth = 0.35 * at.since(self.host.restart) + 0.06 * self.host.load(at, 0.0);
        let noise = 0.006 * self.noise.normal(at.index);
        let leak = upset.map_or(0.0, |upset| upset.size(0.5, 0.9));
        libm::floor(self.level * (self.host.deploy(at) + growth + noise + leak))
    }

    /// `level` is how many wait when the hourly job has just put in its work.
    fn queue_depth(&self, at: Moment, upset: Option<Upset>) -> f64 {
        let minutes = 60.0 * (at.since(self.job.0) * 24.0).fract();
        let burst = self.level * (1.0 - minutes / 12.0).max(0.0) * (1.0 + 0.1 * self.noise.normal(at.index));
        let few = if self.drift.uniform(at.index) < 0.1 { 1.0 } else { 0.0 };
        libm::floor(burst + few + upset.map_or(0.0, |upset| upset.size(200.0, 600.0)))
    }

    /// `level` is the size of the disk, in bytes.
    fn disk_usage(&self, at: Moment, upset: Option<Upset>) -> f64 {
        let grown = 0.35 + 0.3 * at.age / (at.age + 200.0);
        let logs = 0.01 * at.since(self.job.0) + 0.0004 * self.noise.normal(at.index);
        let shift = upset.map_or(0.0, |upset| upset.size(0.06, 0.12));
        libm::floor(self.level * (grown + logs + shift).min(1.0))
    }

    /// `level` is the traffic without the job, which moves twelve times as much.
    fn network(&self, at: Moment, upset: Option<Upset>) -> f64 {
        let (middle, length) = self.job;
        let runs = at.since(middle - length / 2.0) < length;
        let noise = 1.0 + 0.06 * self.noise.normal(at.index);
        let usual = self.level * (0.8 + 0.4 * self.host.load(at, 0.0)) * noise;
        let job = if runs { 12.0 * self.level * (1.0 - missing_peak(upset)) * noise } else { 0.0 };
        let spike = match upset {
            Some(upset) if upset.kind == IncidentKind::Spike => upset.size(10.0, 20.0) * self.level,
            _ => 0.0,
        };
        usual + job + spike
    }

    /// `level` is the temperature without load, in degrees.
    fn temperature(&self, at: Moment, upset: Option<Upset>) -> f64 {
        let drift = 0.8 * self.drift.drift(at.age * 4.0) + 0.4 * self.noise.normal(at.index);
        let usual = self.level + 12.0 * self.host.load(at, 0.0) + drift;
        usual + upset.map_or(0.0, |upset| upset.size(12.0, 20.0))
    }

    /// Whether the scrape at a point brought no sample.
    pub(crate) fn is_missing(&self, at: Moment) -> bool {
        self.gaps.uniform(at.index) < 0.0004 || self.host.is_missing(at)
    }
}

impl Host {
    /// The load, 1 at the peak of a working day, of which the part `missing` is missing.
    fn load(&self, at: Moment, missing: f64) -> f64 {
        let hour = libm::cos(TAU * at.since(self.peak));
        let season = 0.5 + 0.42 * hour + 0.08 * (2.0 * hour * hour - 1.0);
        let week = if at.is_weekend() { WEEKEND } else { 1.0 };
        let slow = 1.0 + 0.025 * self.chance.of(10).drift(at.age * 12.0);
        (self.trough + (1.0 - self.trough) * season * week * (1.0 - missing)) * slow
    }

    /// What the version that is deployed costs, around 1: a mild shift every few days that is no incident.
    fn deploy(&self, at: Moment) -> f64 {
        let (chance, epoch) = (self.chance.of(11), libm::floor(at.age / DEPLOY_DAYS));
        let part = at.age / DEPLOY_DAYS - epoch;
        let version = epoch as u64 + u64::from(part >= chance.uniform(2 * epoch as u64));
        1.0 + 0.04 * (chance.uniform(2 * version + 1) - 0.5)
    }

    /// Whether nothing of the host could be scraped.
    fn is_missing(&self, at: Moment) -> bool {
        let scraped = within(self.chance.of(12), at.age, 3.0, (5.0 / 1440.0, 40.0 / 1440.0), 0.5);
        scraped || self.comes_and_goes && within(self.chance.of(13), at.age, 4.0, (0.3, 0.9), 1.0)
    }
}

/// Whether `age` is within the one stretch of its window of `every` days, of which only a `share` has one.
fn within(chance: Chance, age: f64, every: f64, length: (f64, f64), share: f64) -> bool {
    let window = libm::floor(age / every);
    let chance = chance.of(window as u64);
    let length = chance.between(0, length.0, length.1);
    let begin = window * every + (every - length) * chance.uniform(1);
    (begin..begin + length).contains(&age) && chance.uniform(2) < share
}

/// How much of the daily peak is missing.
fn missing_peak(upset: Option<Upset>) -> f64 {
    upset.filter(|upset| upset.kind == IncidentKind::MissingPeak).map_or(0.0, |upset| upset.envelope)
}
