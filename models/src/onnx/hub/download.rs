//! One file from the hub to the disk, in as many tries as it takes.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use super::listing::Remote;
use super::{Event, HubError, Source};
use crate::onnx::library::io_at;
use crate::onnx::manifest::sha256;

/// How often a download goes on by itself after it broke off.
const TRIES: u32 = 4;

/// How long to wait for a connection, for an answer to begin, and for more bytes.
const CONNECT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);

/// Fetches `remote` into the file `path`, or what is missing of it, and checks it.
///
/// # Errors
/// It can't be had, is larger than `most` or than the hub says, or is not what the hub says.
pub(super) fn download(
    source: &Source,
    remote: &Remote,
    most: u64,
    path: &Path,
    on: &mut dyn FnMut(Event<'_>),
) -> Result<(), HubError> {
    let too_large = |bytes| HubError::TooLarge { file: remote.path.clone(), bytes, most };
    if let Some(bytes) = remote.bytes.filter(|bytes| *bytes > most) {
        return Err(too_large(bytes));
    }
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(at(path))?;
    let mut part = Part { source, remote, most, path, file: &mut file };
    for attempt in 1.. {
        match part.go_on(on) {
            Ok(()) => break,
            Err(Stop::Final(error)) => return Err(error),
            Err(Stop::Broken(message)) if attempt == TRIES => {
                let done = part.here()?;
                return Err(HubError::Interrupted { file: remote.path.clone(), done, message });
            }
            Err(Stop::Broken(message)) => {
                tracing::warn!("{}: {message}; going on", remote.path);
                std::thread::sleep(source.pause * (1 << (attempt - 1)));
            }
        }
    }
    on(Event::Ends);
    part.check()
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> HubError {
    move |error| HubError::Library(io_at(path)(error))
}

/// Why a try ended.
enum Stop {
    /// The next one may do better.
    Broken(String),
    /// It won't.
    Final(HubError),
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// A file, as far as it is here.
struct Part<'a> {
    source: &'a Source,
    remote: &'a Remote,
    most: u64,
    path: &'a Path,
    file: &'a mut File,
}

impl Part<'_> {
    fn here(&self) -> Result<u64, HubError> {
        Ok(self.file.metadata().map_err(at(self.path))?.len())
    }

    /// Throws away what is here.
    fn empty(&mut self) -> Result<(), HubError> {
        self.file.set_len(0).map_err(at(self.path))
    }

    /// One try, from the end of what is here.
    fn go_on(&mut self, on: &mut dyn FnMut(Event<'_>)) -> Result<(), Stop> {
        let mut here = self.here()?;
        if self.remote.bytes.is_some_and(|bytes| here > bytes) {
            self.empty()?;
            here = 0;
        }
        if self.remote.bytes.is_some_and(|bytes| here == bytes) {
            on(Event::Begins { file: &self.remote.path, bytes: self.remote.bytes, done: here });
            return Ok(());
        }
        let url = self.source.repo.url(&self.remote.path);
        let request = self.source.repo.info_request().uri(url.as_str());
        let request = if here > 0 { request.header("Range", format!("bytes={here}-")) } else { request };
        // A range is one of the file, not of what it is compressed to.
        let request = request.config().http_status_as_error(false).https_only(self.source.secure);
        let request =
            request.accept_encoding("identity").timeout_connect(Some(CONNECT)).timeout_per_read(Some(SILENCE));
        let response = request.build().call().map_err(|error| Stop::Broken(error.to_string()))?;
        let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
        match response.status().as_u16() {
            200 => {
                self.empty()?;
                here = 0;
            }
            206 if range.is_some_and(|range| range.starts_with(&format!("bytes {here}-"))) => {}
            206 | 416 => {
                self.empty()?;
                return Err(Stop::Broken("the hub answers another part of the file than was asked for".into()));
            }
            status @ (408 | 429 | 500..=599) => return Err(Stop::Broken(format!("the hub answers {status}"))),
            status => return Err(Stop::Final(self.source.refused(&url, status))),
        }
        on(Event::Begins { file: &self.remote.path, bytes: self.remote.bytes, done: here });
        self.write(here, &mut response.into_body().into_reader(), on)
    }

    /// Writes what comes behind the first `here` bytes.
    fn write(&mut self, here: u64, from: &mut dyn Read, on: &mut dyn FnMut(Event<'_>)) -> Result<(), Stop> {
        let most = self.remote.bytes.unwrap_or(self.most);
        let mut here = self.file.seek(SeekFrom::Start(here)).map_err(at(self.path))?;
        let mut buffer = vec![0; 1 << 17];
        loop {
            let read = from.read(&mut buffer).map_err(|error| Stop::Broken(error.to_string()))?;
            if read == 0 {
                break;
            }
            here += read as u64;
            if here > most {
                self.empty()?;
                let file = self.remote.path.clone();
                return Err(Stop::Final(HubError::TooLarge { file, bytes: here, most }));
            }
            self.file.write_all(&buffer[..read]).map_err(at(self.path))?;
            on(Event::Advances { bytes: read as u64 });
        }
        match self.remote.bytes {
            Some(bytes) if here < bytes => Err(Stop::Broken(format!("{here} of {bytes} bytes came"))),
            _ => Ok(()),
        }
    }

    /// Compares with what the hub says; what is wrong does not stay.
    fn check(&self) -> Result<(), HubError> {
        let Some(expected) = &self.remote.sha256 else { return Ok(()) };
        let found = sha256(self.path).map_err(at(self.path))?;
        if found == *expected {
            return Ok(());
        }
        fs::remove_file(self.path).map_err(at(self.path))?;
        Err(HubError::Hash { file: self.remote.path.clone(), found, expected: expected.clone() })
    }
}
