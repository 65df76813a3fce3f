use std::io::Write as _;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::prometheus::connection::{Auth, Retry, Tenant};
use crate::time::{Step, Timestamp};

/// What the server does with one connection.
#[derive(Clone)]
enum Reply {
    /// Sends these bytes and closes.
    Bytes(Vec<u8>),
    /// Closes without a byte.
    Nothing,
    /// Sends these bytes and says no more.
    Hang(Vec<u8>),
}

/// A server that plays the replies, one a connection, the last one for ever, and keeps the requests.
async fn server(replies: Vec<Reply>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(vec![]));
    let seen = requests.clone();
    tokio::spawn(async move {
        for at in 0.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 64 * 1024];
            let length = socket.read(&mut request).await.unwrap();
            seen.lock().unwrap().push(String::from_utf8_lossy(&request[..length]).into_owned());
            match &replies[at.min(replies.len() - 1)] {
                Reply::Bytes(bytes) => socket.write_all(bytes).await.unwrap(),
                Reply::Nothing => {}
                Reply::Hang(bytes) => {
                    socket.write_all(bytes).await.unwrap();
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
            }
        }
    });
    (url, requests)
}

fn reply(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    Reply::Bytes([head.as_bytes(), body].concat())
}

fn matrix(series: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#)
}

fn good() -> Reply {
    reply("200 OK", "", matrix(r#"{"metric":{"__name__":"up"},"values":[[1700000000,"1"],[1700000010,"2"]]}"#))
}

/// The reply with its last `bytes` missing.
fn cut(reply: Reply, bytes: usize) -> Reply {
    let Reply::Bytes(mut all) = reply else { return reply };
    all.truncate(all.len() - bytes);
    Reply::Bytes(all)
}

fn query(points: i64) -> RangeQuery {
    long_query("up", points)
}

fn long_query(text: &str, points: i64) -> RangeQuery {
    let start = Timestamp::from_seconds(1_700_000_000);
    let step = Step::from_millis(10_000).unwrap();
    RangeQuery::new(text, start, start + step.times(points as usize - 1), step).unwrap()
}

fn connection(url: &str) -> Connection {
    let quick = Duration::from_millis(1);
    let retry = Retry { attempts: 3, first_wait: quick, longest_wait: quick };
    Connection { retry, timeout: Duration::from_millis(500), ..Connection::new(url) }
}

async fn read(url: &str, query: &RangeQuery, limits: &Limits) -> Result<Answer, ReadError> {
    QueryRange::new(&connection(url), 1).unwrap().read(query, limits).await
}

/// The replies lead to this fault, which says these words, after so many requests.
async fn check_fault(replies: Vec<Reply>, kind: &str, words: &str, attempts: usize) {
    let (url, requests) = server(replies).await;
    let limits = Limits { bytes: 4000, ..Limits::default() };
    let error = read(&url, &query(2), &limits).await.unwrap_err();
    assert_eq!(error.fault.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains(words), "`{text}` does not say `{words}`");
    assert!(text.contains(&format!("reading `up` from {url}: ")), "{text}");
    assert_eq!(requests.lock().unwrap().len(), attempts, "{text}");
}

#[tokio::test]
async fn broken_answers() {
    let json = r#"{"status":"error","errorType":"bad_data","error":"no such function"}"#;
    for (reply, kind, words, attempts) in [
        (reply("400 Bad Request", "", json), "query", "refused (bad_data): no such function", 1),
        (reply("422 Unprocessable Entity", "", json), "query", "no such function", 1),
        (reply("200 OK", "", json), "query", "no such function", 1),
        (reply("400 Bad Request", "", "<h1>what?\n</h1>"), "status", "status 400: <h1>what? </h1>", 1),
        (reply("401 Unauthorized", "", ""), "status", "status 401", 1),
        (reply("404 Not Found", "", "no tenant"), "status", "status 404: no tenant", 1),
        (reply("302 Found", "Location: /login\r\n", ""), "status", "status 302: moved to /login", 1),
        (reply("429 Too Many Requests", "Retry-After: 0\r\n", "slow down"), "status", "status 429: slow down", 3),
        (reply("503 Service Unavailable", "", json), "status", "status 503: bad_data: no such function", 3),
        (reply("500 Internal Server Error", "", vec![b'x'; 100_000]), "status", "xxx…", 3),
        (reply("204 No Content", "", ""), "truncated", "after 0 bytes", 3),
        (reply("200 OK", "", ""), "truncated", "after 0 bytes", 3),
        (reply("200 OK", "", "<html></html>"), "malformed", "at byte 0", 1),
        (reply("200 OK", "", vec![b' '; 5000]), "too_large", "more than 4000 bytes", 1),
        (reply("200 OK", "", matrix(r#"{"metric":{},"values":[[1700000005,"1"]]}"#)), "malformed", "1700000005", 1),
        (cut(good(), 1), "truncated", "ends in the middle", 3),
        (cut(good(), 30), "truncated", "ends in the middle", 3),
        (Reply::Nothing, "connection", "no connection", 3),
        (Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent".to_vec()), "connection", "no connection", 3),
        (Reply::Bytes(b"SSH-2.0-OpenSSH\r\n".to_vec()), "connection", "no connection", 3),
        (Reply::Hang(vec![]), "timeout", "within 500ms", 1),
        (Reply::Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()), "timeout", "within 500ms", 1),
    ] {
        check_fault(vec![reply], kind, words, attempts).await;
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_until_it_does() {
    for trouble in [
        reply("503 Service Unavailable", "", ""),
        reply("429 Too Many Requests", "", ""),
        cut(good(), 25),
        cut(good(), 1),
        Reply::Nothing,
    ] {
        let (url, requests) = server(vec![trouble.clone(), trouble, good()]).await;
        let answer = read(&url, &query(2), &Limits::default()).await.unwrap();
        assert_eq!(answer.frame.values(), [1.0, 2.0]);
        assert_eq!(requests.lock().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn nobody_at_home() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:s3cret@{}", listener.local_addr().unwrap());
    drop(listener);
    let error = read(&url, &query(2), &Limits::default()).await.unwrap_err();
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(text.contains("refused") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn the_request_says_all_that_it_should() {
    let (url, requests) = server(vec![good()]).await;
    let mut connection = connection(&url);
    connection.auth = Auth::Basic { username: "u".into(), password: "p".into() };
    connection.tenant = Some(Tenant::OrgId("team".into()));
    connection.headers = vec![("X-Own".into(), "1".into())];
    connection.params = vec![("extra_label".into(), "a=b".into())];
    let reader = QueryRange::new(&connection, 1).unwrap();
    reader.read(&query(2), &Limits::default()).await.unwrap();
    let long = format!("up or {}", "x".repeat(5000));
    reader.read(&long_query(&long, 2), &Limits::default()).await.unwrap();
    let requests = requests.lock().unwrap();
    let line = "GET /api/v1/query_range?extra_label=a%3Db&query=up&start=1700000000.000&end=1700000010.000&step=10.000\
        &nocache=1 HTTP/1.1";
    assert!(requests[0].starts_with(line), "{}", requests[0]);
    for header in ["authorization: Basic dTpw", "x-scope-orgid: team", "x-own: 1"] {
        assert!(requests[0].contains(header), "{} lacks {header}", requests[0]);
    }
    assert!(!requests[0].contains("gzip"));
    assert!(requests[1].starts_with("POST /api/v1/query_range?extra_label=a%3Db HTTP/1.1"), "{}", requests[1]);
    assert!(requests[1].contains("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn a_long_range_is_read_in_pieces_and_joined() {
    let series = |name: &str, point: i64| {
        let time = 1_700_000_000 + 10 * point;
        format!(r#"{{"metric":{{"n":"{name}"}},"values":[[{time},"{point}"]]}}"#)
    };
    let pieces = [
        matrix(&[series("a", 10_999), series("b", 5)].join(",")),
        matrix(&[series("c", 11_000), series("b", 21_999)].join(",")),
        matrix(&[series("a", 22_000)].join(",")),
    ];
    let bytes = pieces.iter().map(String::len).sum::<usize>();
    let mut replies = pieces.map(|body| reply("200 OK", "", body)).to_vec();
    replies.insert(1, cut(replies[1].clone(), 10));
    let (url, requests) = server(replies.clone()).await;
    let answer = read(&url, &query(22_001), &Limits::default()).await.unwrap();
    let requests = requests.lock().unwrap().clone();
    let wanted = ["start=1700000000.000&end=1700109990.000", "start=1700110000.000&end=1700219990.000"];
    assert!(requests[0].contains(wanted[0]) && requests[1].contains(wanted[1]) && requests[2].contains(wanted[1]));
    assert!(requests[3].contains("start=1700220000.000&end=1700220000.000"));
    let rows = answer.frame.rows().map(|(labels, values)| {
        let there = values.iter().enumerate().filter(|(_, value)| !value.is_nan());
        (labels.get("n").unwrap().to_string(), there.map(|(at, value)| (at, *value)).collect::<Vec<_>>())
    });
    assert_eq!(
        rows.collect::<Vec<_>>(),
        [
            ("a".to_string(), vec![(10_999, 10_999.0), (22_000, 22_000.0)]),
            ("b".to_string(), vec![(5, 5.0), (21_999, 21_999.0)]),
            ("c".to_string(), vec![(11_000, 11_000.0)]),
        ]
    );
    assert_eq!(answer.bytes, bytes as u64);
    let (url, _) = server(replies).await;
    let limits = Limits { series: 2, ..Limits::default() };
    let error = read(&url, &query(22_001), &limits).await.unwrap_err();
    assert_eq!(error.fault, ReadFault::TooLarge { bound: Bound::Series, limit: 2 });
}

#[tokio::test]
async fn gzip_where_it_is_asked_for() {
    let Reply::Bytes(plain) = good() else { unreachable!() };
    let body = plain[plain.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4..].to_vec();
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(&body).unwrap();
    let packed = encoder.finish().unwrap();
    let gzip = |bytes: &[u8]| reply("200 OK", "Content-Encoding: gzip\r\n", bytes);
    let read = async |reply| {
        let (url, requests) = server(vec![reply]).await;
        let reader = QueryRange::new(&Connection { gzip: true, ..connection(&url) }, 1).unwrap();
        let answer = reader.read(&query(2), &Limits { bytes: 10_000, ..Limits::default() }).await;
        assert!(requests.lock().unwrap()[0].contains("accept-encoding: gzip"));
        answer
    };
    let answer = read(gzip(&packed)).await.unwrap();
    assert_eq!((answer.frame.values(), answer.bytes), (&[1.0, 2.0][..], body.len() as u64));
    assert_eq!(read(gzip(&packed[..packed.len() / 2])).await.unwrap_err().fault.kind(), "truncated");
    assert_eq!(read(gzip(&body)).await.unwrap_err().fault.kind(), "malformed");
    // A small body that unpacks to a huge one.
    let mut bomb = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    bomb.write_all(&vec![b' '; 1_000_000]).unwrap();
    let error = read(gzip(&bomb.finish().unwrap())).await.unwrap_err();
    assert_eq!(error.fault, ReadFault::TooLarge { bound: Bound::Bytes, limit: 10_000 });
}

#[test]
fn times_are_written_to_the_millisecond() {
    for (millis, text) in [(0, "0.000"), (1_700_000_000_001, "1700000000.001"), (-1, "-0.001"), (-1500, "-1.500")] {
        assert_eq!(seconds(millis), text);
    }
}

#[tokio::test]
async fn how_soon_a_server_settles_is_asked_of_the_server_and_not_of_a_gateway() {
    let check = async |replies: Vec<Reply>, seconds: Option<u64>| {
        let reader = QueryRange::new(&Connection::new(server(replies).await.0), 1).unwrap();
        let settles = reader.settles_after().await;
        match seconds {
            Some(seconds) => assert_eq!(settles.unwrap(), Duration::from_secs(seconds)),
            None => assert!(settles.as_ref().is_err_and(ReadError::is_retryable), "{settles:?}"),
        }
    };
    let (flags, page) = (reply("200 OK", "", "-search.latencyOffset=\"20s\"\n"), "Content-Type: text/html\r\n");
    let metrics = |text: &str| reply("200 OK", "Content-Type: text/plain\r\n", text);
    check(vec![flags.clone()], Some(20)).await;
    check(vec![reply("200 OK", page, "<html>"), metrics("# HELP up\n")], Some(0)).await;
    check(vec![reply("403 Forbidden", "", "no"), metrics("# HELP\nvm_rows 1\n")], Some(30)).await;
    check(vec![reply("404 Not Found", "", "")], Some(0)).await;
    for status in ["429 Too Many Requests", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"] {
        check(vec![reply(status, page, "<html>"), flags.clone()], None).await;
        check(vec![reply("404 Not Found", "", ""), reply(status, page, "<html>")], None).await;
    }
    check(vec![Reply::Nothing], None).await;
}

#[tokio::test]
async fn a_server_is_asked_for_ends_as_it_can_be() {
    let flags = |text: &str| reply("200 OK", "", format!(r#"{{"status":"success","data":{text}}}"#));
    let no_page = || reply("404 Not Found", "", "");
    let refused = || reply("400 Bad Request", "", r#"{"status":"error","errorType":"bad_data","error":"no function"}"#);
    let busy = || reply("503 Service Unavailable", "", "later");
    let found =
        |labels: &str| reply("200 OK", "", matrix(&format!(r#"{{"metric":{labels},"values":[[1700000010,"1"]]}}"#)));
    let prometheus = || flags(r#"{"query.lookback-delta":"5m"}"#);
    let ended = async |text: &str, replies: Vec<Reply>| {
        let (url, requests) = server(replies).await;
        let reader = QueryRange::new(&connection(&url), 1).unwrap();
        // The second time it is known what the server is.
        let query = long_query(text, 2);
        let first = reader.ended(&query, &Limits::default()).await;
        let again = reader.ended(&query, &Limits::default()).await;
        let seen = requests.lock().unwrap().clone();
        let names = |answer: Result<Option<Frame>, ReadError>| match answer {
            Ok(frame) => frame.map_or("can't tell".into(), |frame| format!("{:?}", frame.series())),
            Err(error) => error.fault.kind().to_string(),
        };
        assert_eq!(names(again), names(first.clone()));
        (names(first), seen)
    };
    let up = r#"{"__metric__":"up","i":"1"}"#;
    let (found_by_lookback, seen) = ended("up", vec![prometheus(), found(up)]).await;
    assert_eq!(found_by_lookback, r#"[up{i="1"}]"#);
    assert!(seen.len() == 3 && seen[0].contains("GET /api/v1/status/flags"), "{seen:?}");
    assert!(seen[1..].iter().all(|request| request.contains("last_over_time") && request.contains("unless")));
    let (counted, seen) = ended("up", vec![no_page(), found(r#"{"__name__":"up","i":"1"}"#)]).await;
    assert_eq!(counted, r#"[up{i="1"}]"#);
    assert!(seen.len() == 3 && seen[1..].iter().all(|request| request.contains("stale_samples_over_time")), "{seen:?}");
    for (text, replies, answer, requests) in [
        ("sum(up)", vec![prometheus()], "can't tell", 0),
        ("up{", vec![prometheus()], "can't tell", 0),
        ("up", vec![no_page(), refused()], "can't tell", 3),
        ("up", vec![flags("{}"), refused()], "can't tell", 3),
        ("up", vec![reply("200 OK", "", "<html>"), refused()], "can't tell", 3),
        ("up", vec![reply("401 Unauthorized", "", ""), refused()], "can't tell", 3),
        ("up", vec![prometheus(), refused()], "query", 3),
        ("up", vec![busy()], "status", 2),
        ("up", vec![no_page(), busy()], "status", 7),
        ("up", vec![Reply::Nothing], "connection", 2),
        ("up", vec![prometheus(), found(r#"{"a":"b"},"a":{"#)], "malformed", 3),
    ] {
        let (told, seen) = ended(text, replies).await;
        assert_eq!((told.as_str(), seen.len()), (answer, requests), "{text}: {seen:?}");
    }
}
