//! Models behind a URL: any HTTP endpoint that speaks one of four protocols.
//!
//! An endpoint is not trusted: its answers are bounded in time and size, and checked before they become a forecast.
//! A series about which it answers wrongly fails, and the others keep what was said of them.

mod answer;
mod arrow;
mod batch;
mod client;
mod fault;
mod json;
mod kserve;
mod oip;
mod options;
mod train;

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::Url;
use tokio::runtime::{Builder, Handle, Runtime};

use self::answer::Answer;
use self::batch::Batch;
use self::client::{Call, Client, Content, Reply};
use self::fault::{Failed, Fault};
use self::options::{Options, Protocol};
pub use self::options::{PARAMETERS, TOKEN_PREFIX};
pub use self::train::{TrainError, Trained, Training, train};
use crate::entry::Built;
use crate::forecast::Forecast;
use crate::forecaster::{ForecastError, Forecaster, Request};
use crate::resources::Resources;
use crate::spec::{Endpoint, ModelSpec};

/// How long an answer may take where nothing is said about that.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Drives the connections of all remote models: little work, so that a thread is enough.
static RUNTIME: LazyLock<Result<Runtime, String>> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("remote-models").enable_all().build().map_err(|error| error.to_string())
});

/// Builds the model behind `endpoint`. Nothing is asked yet.
pub(crate) fn build(spec: &ModelSpec, endpoint: &Endpoint, resources: &Resources) -> Built {
    let options = Options::new(spec, endpoint, TIMEOUT)?;
    Ok(Arc::new(Remote { client: Client::new(&options, resources), options }))
}

/// Blocks this thread until a future is done. One that belongs to a runtime must not wait in another, and has a thread
/// of its own wait for it.
fn wait<T: Send>(future: impl Future<Output = T> + Send) -> Result<T, Fault> {
    let runtime = RUNTIME.as_ref().map_err(|error| Fault::Setup(format!("no connections can be made: {error}")))?;
    if Handle::try_current().is_err() {
        return Ok(runtime.block_on(future));
    }
    let waited = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(future)).join());
    Ok(waited.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// A model behind a URL.
struct Remote {
    options: Options,
    client: Client,
}

impl Forecaster for Remote {
    fn forecast(&self, request: &Request<'_>) -> Result<Forecast, ForecastError> {
        if request.is_joint() {
            return Err(self.error("a remote model forecasts each series from its own past alone"));
        }
        let mut forecast = Forecast::unknown(request.contexts.len(), request.levels.clone(), request.horizon);
        if request.horizon == 0 {
            return Ok(forecast);
        }
        let batches = Batch::of(request, self.options.batch);
        let down = Mutex::new(None);
        let asks: Vec<_> = batches.iter().map(|batch| self.ask(batch, &down)).collect();
        let answers = stream::iter(asks).buffered(self.options.concurrency).collect::<Vec<_>>();
        for (batch, answers) in batches.iter().zip(wait(answers).map_err(|fault| self.error(fault))?) {
            self.fill(&mut forecast, batch, answers);
        }
        // What could not be asked is asked again with the next pass; only wrong answers are final.
        if let Some(failed) = known(&down).take() {
            return Err(self.error(self.named(&failed)));
        }
        let asked: usize = batches.iter().map(Batch::len).sum();
        match forecast.failures() {
            [first, ..] if forecast.failures().len() == asked => Err(self.error(&first.message)),
            _ => Ok(forecast),
        }
    }

    fn prepare(&self) -> Result<(), ForecastError> {
        let failed = match wait(self.client.send(&self.health())) {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(failed)) => failed,
            Err(fault) => fault.into(),
        };
        match failed.fault {
            Fault::TooLong(_) => Ok(()),
            // That it refuses this question says that it is there; only the Open Inference Protocol means more by it.
            Fault::Status { code, .. } if code < 500 && self.options.protocol != Protocol::Oip => Ok(()),
            _ => Err(self.error(self.named(&failed))),
        }
    }

    fn waits(&self) -> bool {
        true
    }
}

impl Remote {
    fn error(&self, message: impl ToString) -> ForecastError {
        let name = if self.options.name.is_empty() { "remote" } else { &self.options.name };
        ForecastError::new(name, message)
    }

    /// What went wrong, and where.
    fn named(&self, what: impl std::fmt::Display) -> String {
        format!("{}: {what}", self.client.endpoint())
    }

    /// A cheap question that shows whether anybody answers.
    fn health(&self) -> Call {
        let url = match self.options.protocol {
            Protocol::Json | Protocol::Arrow => self.client.url().clone(),
            Protocol::Oip => self.client.below(&["v2", "models", &self.options.name, "ready"]),
            Protocol::Kserve => self.client.below(&["v2", "health", "ready"]),
        };
        Call { url, content: Content::Nothing, limit: 1 << 20, seed: 0 }
    }

    /// Asks about a batch. Where an endpoint is `down`, there is no use in asking it further in the same forecast.
    async fn ask(&self, batch: &Batch<'_>, down: &Mutex<Option<Failed>>) -> Result<Vec<Result<Answer, Fault>>, Failed> {
        if let Some(failed) = known(down).clone() {
            return Err(failed);
        }
        let call = self.call(batch)?;
        let reply = self.client.send(&call).await.inspect_err(|failed| {
            if failed.fault.is_hopeless() {
                *known(down) = Some(failed.clone());
            }
        })?;
        Ok(self.read(&reply, batch, call.limit)?)
    }

    fn call(&self, batch: &Batch<'_>) -> Result<Call, Fault> {
        let parameters = &self.options.parameters;
        let own = || self.client.url().clone();
        let (url, content): (Url, Content) = match self.options.protocol {
            Protocol::Json => (own(), Content::Json(json::question(batch, parameters))),
            Protocol::Arrow => {
                let data = arrow::write(batch).map_err(|error| Fault::Setup(format!("no Arrow file: {error}")))?;
                (own(), Content::Arrow { data, request: json::question_beside(batch, parameters) })
            }
            Protocol::Oip => {
                let url = self.client.below(&["v2", "models", &self.options.name, "infer"]);
                (url, Content::Json(oip::question(batch, parameters)))
            }
            Protocol::Kserve => {
                let url = self.client.below(&["v1", "timeseries", "forecast"]);
                (url, Content::Json(kserve::question(&self.options.name, batch, parameters)))
            }
        };
        Ok(Call { url, content, limit: self.options.limit(batch.numbers()), seed: batch.seed() })
    }

    fn read(&self, reply: &Reply, batch: &Batch<'_>, limit: usize) -> Result<Vec<Result<Answer, Fault>>, Fault> {
        match self.options.protocol {
            Protocol::Json => Ok(vec![json::answer(reply)]),
            // For one series the answer may be in JSON.
            Protocol::Arrow if batch.len() == 1 && !arrow::is_file(reply) => Ok(vec![json::answer(reply)]),
            Protocol::Arrow => arrow::answers(reply, batch, limit),
            Protocol::Oip => oip::answers(reply, batch),
            Protocol::Kserve => kserve::answers(reply, batch),
        }
    }

    fn fill(&self, forecast: &mut Forecast, batch: &Batch<'_>, answers: Result<Vec<Result<Answer, Fault>>, Failed>) {
        let answers = match answers {
            Ok(answers) => answers,
            Err(failed) => {
                batch.series.iter().for_each(|series| forecast.fail(*series, self.named(&failed)));
                return;
            }
        };
        let size = batch.levels().len() * batch.horizon();
        for (series, answer) in batch.series.iter().zip(answers) {
            match answer.and_then(|answer| answer.rows(batch.levels(), batch.horizon())) {
                Ok(rows) => forecast.values_mut()[series * size..][..size].copy_from_slice(&rows),
                Err(fault) => forecast.fail(*series, self.named(&fault)),
            }
        }
    }
}

/// Why the endpoint is not asked any further, if that is so. Nothing can break while it is looked at.
fn known(down: &Mutex<Option<Failed>>) -> MutexGuard<'_, Option<Failed>> {
    down.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
