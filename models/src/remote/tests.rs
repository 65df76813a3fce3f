mod live;
mod server;

use std::io::Write;
use std::net::TcpListener;
use std::time::Instant;

use serde_json::Value;

use self::server::{Asked, Server, answer};
use super::*;
use crate::forecast::Levels;
use crate::spec::Format;

/// Quantiles 0.1, 0.5 and 0.9 of two steps.
const GOOD: &str = r#"{"mean": [2, 2], "quantiles": {"0.1": [1, 1], "0.5": [2, 2], "0.9": [3, 3]}}"#;
const GOOD_ROWS: [f64; 6] = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0];
const END_MS: i64 = 1_700_000_000_000;
const MINUTE_MS: i64 = 60_000;

fn remote(url: &str, format: Format, parameters: &str) -> Remote {
    let endpoint = Endpoint { url: url.to_owned(), format };
    let parameters = serde_json::from_str(parameters).unwrap();
    let spec = ModelSpec { id: "m/1".to_owned(), endpoint: Some(endpoint.clone()), parameters };
    let options = Options::new(&spec, &endpoint, TIMEOUT).unwrap();
    let mut client = Client::new(&options, &Resources::default());
    client.patience.first_wait = Duration::from_millis(1);
    Remote { client, options }
}

fn ask(model: &Remote, contexts: &[&[f64]]) -> Result<Forecast, ForecastError> {
    ask_any(model, contexts)
}

fn ask_any(model: &dyn Forecaster, contexts: &[&[f64]]) -> Result<Forecast, ForecastError> {
    let levels = Levels::new(vec![0.1, 0.5, 0.9]).unwrap();
    model.forecast(&Request::new(contexts, END_MS, Duration::from_millis(MINUTE_MS as u64), 2, &levels))
}

fn ask_one(url: &str, parameters: &str) -> Result<Forecast, ForecastError> {
    ask(&remote(url, Format::Json, parameters), &[&[1.0, 2.0]])
}

#[track_caller]
fn check_error(result: Result<Forecast, ForecastError>, url: &str, words: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.model, "m/1");
    assert!(error.message.starts_with(&format!("{url}: ")), "{error} does not name {url}");
    for words in words {
        assert!(error.message.contains(words), "{error} lacks {words}");
    }
    assert!(error.message.len() < 700, "{error}");
}

#[test]
fn json_is_asked_for_each_series() {
    let server = Server::saying(200, "content-type: application/json", GOOD);
    let model = remote(&server.url, Format::Json, r#"{"top_k": 3, "headers": {"X-Team": "a"}}"#);
    let forecast = ask(&model, &[&[f64::NAN, 1.0, f64::NAN, 2.0], &[], &[5.0]]).unwrap();
    assert_eq!(forecast.of(0), GOOD_ROWS);
    assert_eq!(forecast.of(2), GOOD_ROWS);
    assert!(forecast.of(1).iter().all(|value| value.is_nan()) && forecast.failures().is_empty());
    let mut asked = server.asked();
    asked.sort_by_key(|asked| std::cmp::Reverse(asked.body.len()));
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].line, "POST /predict");
    assert!(asked[0].headers.contains("content-type: application/json") && asked[0].headers.contains("x-team: a"));
    let expected =
        r#"{"prediction_length":2,"quantiles":[0.1,0.5,0.9],"parameters":{"top_k":3},"context":[1.0,null,2.0]}"#;
    assert_eq!(asked[0].text(), expected);
    assert!(model.waits() && model.prepare().is_ok());
}

#[test]
fn the_registry_builds_it_by_its_endpoint() {
    let build = |url: &str| {
        let endpoint = Some(Endpoint { url: url.to_owned(), format: Format::Json });
        let spec = ModelSpec { id: "no_such_model_here".to_owned(), endpoint, ..ModelSpec::default() };
        crate::build(&spec, &crate::Resources::default())
    };
    let server = Server::saying(200, "", GOOD);
    let forecast = ask_any(&*build(&server.url).unwrap_or_else(|error| panic!("{error}")), &[&[1.0]]);
    assert_eq!(forecast.unwrap().of(0), GOOD_ROWS);
    assert!(build("nowhere").is_err_and(|error| error.to_string().contains("parameter endpoint")));
}

#[test]
fn wrong_answers_fail_the_series() {
    for (body, words) in [
        (r#"{"quantiles": {"0.1": [1], "0.5": [2], "0.9": [3]}}"#, "has 1 values where 2 were asked for"),
        (r#"{"quantiles": {"0.1": [1, NaN]}}"#, "no JSON"),
        (r#"{"quantiles": {"0.1": [1, null], "0.5": [2, 2], "0.9": [3, 3]}}"#, "no finite number at step 2"),
        (r#"{"quantiles": {"0.1": [3, 3], "0.5": [2, 2], "0.9": [1, 1]}}"#, "quantiles cross: at step 1"),
        (r#"{"quantiles": {"0.1": [1, 1], "0.5": [2, 2]}}"#, "lacks the quantile 0.9"),
        (r#"{"quantiles": {"0.1": [1, 1], "0.10": [1, 1], "0.5": [2, 2], "0.9": [3, 3]}}"#, "there twice"),
        (r#"{"mean": [1, 1]}"#, "lacks the quantile 0.1"),
        ("", "is empty"),
        ("<!doctype html><title>Sign in</title>", "HTML"),
    ] {
        let server = Server::saying(200, "content-type: application/json", body);
        check_error(ask_one(&server.url, "{}"), &server.url, &[words]);
        assert_eq!(server.asked().len(), 1, "{words} is no reason to ask again");
    }
}

#[test]
fn one_bad_series_leaves_the_others() {
    let server = Server::start(|stream, asked, _| {
        let is_bad = asked.text().contains("13.0");
        let bytes = if is_bad { answer(400, "", b"13 is bad luck") } else { answer(200, "", GOOD.as_bytes()) };
        _ = stream.write_all(&bytes);
    });
    let forecast = ask(&remote(&server.url, Format::Json, "{}"), &[&[1.0], &[13.0], &[2.0]]).unwrap();
    assert_eq!((forecast.of(0), forecast.of(2)), (&GOOD_ROWS[..], &GOOD_ROWS[..]));
    assert!(forecast.of(1).iter().all(|value| value.is_nan()));
    assert_eq!(forecast.failures().len(), 1);
    let failure = &forecast.failures()[0];
    assert_eq!(failure.message, format!("{}: it answered HTTP 400: 13 is bad luck", server.url));
    assert_eq!(failure.series, 1);
}

#[test]
fn only_what_may_succeed_later_is_asked_again() {
    for (code, headers, attempts) in [
        (500, "", 3),
        (503, "", 3),
        (429, "retry-after: 0", 3),
        (400, "", 1),
        (401, "", 1),
        (404, "", 1),
        (422, "", 1),
        (302, "location: http://elsewhere.example/x?key=s3cret", 1),
        (307, "location: /other", 1),
        (204, "", 1),
    ] {
        let server = Server::saying(code, headers, if code == 204 { "" } else { "sorry" });
        let result = ask_one(&server.url, "{}");
        assert_eq!(server.asked().len(), attempts, "{code}");
        let words = match code {
            204 => "is empty".to_owned(),
            302 => "HTTP 302: it leads to http://elsewhere.example/x;".to_owned(),
            307 => format!("it leads to {}", server.url.replace("predict", "other")),
            code => format!("it answered HTTP {code}: sorry"),
        };
        check_error(result, &server.url, &[&words]);
    }
}

#[test]
fn what_fails_at_first_may_come_in_the_end() {
    let server = Server::start(|stream, _, number| {
        let bytes = match number {
            0 => answer(500, "", b"busy"),
            1 => answer(429, "retry-after: 1", b"slowly"),
            _ => answer(200, "", GOOD.as_bytes()),
        };
        _ = stream.write_all(&bytes);
    });
    let begun = Instant::now();
    assert_eq!(ask_one(&server.url, "{}").unwrap().of(0), GOOD_ROWS);
    assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After was not obeyed");
    assert_eq!(server.asked().len(), 3);
    let silent = Server::saying(500, "", "");
    check_error(ask_one(&silent.url, r#"{"retries": 0}"#), &silent.url, &["HTTP 500: (nothing)"]);
    assert_eq!(silent.asked().len(), 1);
}

#[test]
fn an_endpoint_that_is_silent_is_not_waited_for() {
    let server = Server::start(|_, _, _| std::thread::sleep(Duration::from_secs(20)));
    let begun = Instant::now();
    let contexts: Vec<&[f64]> = vec![&[1.0]; 50];
    let result = ask(&remote(&server.url, Format::Json, r#"{"timeout": "300ms"}"#), &contexts);
    check_error(result, &server.url, &["did not answer within 300ms"]);
    assert!(begun.elapsed() < Duration::from_secs(3) && server.asked().len() == 4, "{:?}", begun.elapsed());
}

#[test]
fn an_endpoint_that_drips_is_not_waited_for() {
    let server = Server::start(|stream, _, _| {
        _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    check_error(ask_one(&server.url, r#"{"timeout": 0.3}"#), &server.url, &["did not answer within 300ms"]);
}

#[test]
fn nobody_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let begun = Instant::now();
    let model = remote(&url, Format::Arrow, r#"{"batch": 1}"#);
    let contexts: Vec<&[f64]> = vec![&[1.0]; 100];
    check_error(ask(&model, &contexts), &url, &["can't be reached", "(asked 3 times)"]);
    assert!(begun.elapsed() < Duration::from_secs(2), "every series was tried");
    assert!(model.prepare().unwrap_err().message.contains("can't be reached"));
}

#[test]
fn an_answer_that_breaks_off_is_asked_for_again() {
    let server = Server::start(|stream, _, number| {
        let whole = answer(200, "", GOOD.as_bytes());
        let end = if number == 0 { whole.len() - 5 } else { whole.len() };
        _ = stream.write_all(&whole[..end]);
    });
    assert_eq!(ask_one(&server.url, "{}").unwrap().of(0), GOOD_ROWS);
    let mute = Server::start(|_, _, _| {});
    check_error(ask_one(&mute.url, "{}"), &mute.url, &["can't be reached"]);
    let broken = Server::start(|stream, _, _| _ = stream.write_all(&answer(200, "", GOOD.as_bytes())[..90]));
    check_error(ask_one(&broken.url, "{}"), &broken.url, &["its answer broke off", "asked 3 times"]);
}

/// The most memory that this process has had, in bytes.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn an_endless_answer_takes_no_memory() {
    let bomb = {
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        (0..64).for_each(|_| encoder.write_all(&[b' '; 1 << 20]).unwrap());
        encoder.finish().unwrap()
    };
    let before = peak();
    let declared = Server::start(|stream, _, _| {
        _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n");
        while stream.write_all(&[b'0'; 65536]).is_ok() {}
    });
    let undeclared = Server::start(|stream, _, _| {
        _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        while stream.write_all(&[0; 65536]).is_ok() {}
    });
    let refusing = Server::start(|stream, _, _| {
        _ = stream.write_all(b"HTTP/1.1 400 Bad\r\nconnection: close\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let packed = Server::saying(200, "content-encoding: gzip", bomb);
    for server in [declared, undeclared, packed] {
        check_error(ask_one(&server.url, "{}"), &server.url, &["longer than 10", "max_answer_bytes"]);
        assert_eq!(server.asked().len(), 1);
    }
    check_error(ask_one(&refusing.url, "{}"), &refusing.url, &["HTTP 400: xxx"]);
    assert!(peak() - before < 200 << 20, "{} MiB", (peak() - before) >> 20);
}

#[test]
fn damaged_compression_is_told() {
    let server = Server::saying(200, "content-encoding: gzip", GOOD);
    check_error(ask_one(&server.url, r#"{"retries": 0}"#), &server.url, &["its answer broke off"]);
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(GOOD.as_bytes()).unwrap();
    let server = Server::saying(200, "content-encoding: gzip", encoder.finish().unwrap());
    assert_eq!(ask_one(&server.url, "{}").unwrap().of(0), GOOD_ROWS);
}

#[test]
fn arrow_may_be_answered_in_json_for_one_series() {
    let server = Server::saying(200, "content-type: application/json", GOOD);
    let model = remote(&server.url, Format::Arrow, r#"{"top_k": 3}"#);
    assert_eq!(ask(&model, &[&[1.0]]).unwrap().of(0), GOOD_ROWS);
    check_error(ask(&model, &[&[1.0], &[2.0]]), &server.url, &["no Arrow file (Feather v2): {\"mean\""]);
    let asked = &server.asked()[0];
    for words in [
        "accept: application/vnd.apache.arrow.file",
        "content-type: multipart/form-data; boundary=",
        "content-length: ",
    ] {
        assert!(asked.headers.contains(words), "{}", asked.headers);
    }
    for words in [
        "name=\"data\"; filename=\"data.arrow\"\r\n",
        "application/vnd.apache.arrow.file\r\n",
        "name=\"request\"\r\n\r\n{\"prediction_length\":2,\"quantiles\":[0.1,0.5,0.9],\"parameters\":{\"top_k\":3}}\r\n",
    ] {
        assert!(asked.text().contains(words), "{}", asked.text());
    }
}

/// Answers that hold what `say` makes of the question.
fn answering(say: impl Fn(&Asked) -> Value + Send + Sync + 'static) -> Server {
    Server::start(move |stream, asked, _| _ = stream.write_all(&answer(200, "", say(asked).to_string().as_bytes())))
}

#[test]
fn oip_travels_in_tensors() {
    let server = answering(|_| {
        let data = [GOOD_ROWS, GOOD_ROWS.map(|value| value * 2.0)];
        serde_json::json!({"outputs": [{"name": "quantiles", "datatype": "FP32", "shape": [2, 3, 2], "data": data}]})
    });
    let url = server.url.trim_end_matches("/predict");
    let model = remote(url, Format::Json, r#"{"protocol": "oip", "seed": 1}"#);
    let forecast = ask(&model, &[&[1.0, f64::NAN, 3.0], &[4.0]]).unwrap();
    assert_eq!((forecast.of(0), forecast.of(1)[5]), (&GOOD_ROWS[..], 6.0));
    model.prepare().unwrap();
    let asked = server.asked();
    assert_eq!(
        (asked[0].line.as_str(), asked[1].line.as_str()),
        ("POST /v2/models/m%2F1/infer", "GET /v2/models/m%2F1/ready")
    );
    let expected = r#"{"parameters":{"seed":1},"inputs":[
        {"name":"context","shape":[2,3],"datatype":"FP64","data":[1.0,0.0,3.0,0.0,0.0,4.0]},
        {"name":"observed","shape":[2,3],"datatype":"BOOL","data":[true,false,true,false,false,true]},
        {"name":"horizon","shape":[1],"datatype":"INT64","data":[2]},
        {"name":"levels","shape":[3],"datatype":"FP64","data":[0.1,0.5,0.9]}],"outputs":[{"name":"quantiles"}]}"#;
    assert_eq!(asked[0].json(), serde_json::from_str::<Value>(expected).unwrap());
}

#[track_caller]
fn check_wrong(protocol: &str, answer: &str, words: &str) {
    let server = Server::saying(200, "content-type: application/json", answer);
    let model = remote(&server.url, Format::Json, &format!(r#"{{"protocol": "{protocol}"}}"#));
    check_error(ask(&model, &[&[1.0], &[2.0]]), &server.url, &[words]);
}

#[test]
fn wrong_tensors_are_told() {
    let output = |rest: &str| format!(r#"{{"outputs": [{{"name": "quantiles", {rest}}}]}}"#);
    let check = |answer: &str, words| check_wrong("oip", answer, words);
    check("{}", "lacks the output quantiles");
    check(r#"{"error": "no such model"}"#, "it says \"no such model\"");
    check(&output(r#""datatype": "BYTES", "shape": [2, 3, 2], "data": []"#), "of type \"BYTES\"");
    check(&output(r#""datatype": "FP32", "shape": [2, 2, 3], "data": []"#), "shape [2, 2, 3] where [2, 3, 2]");
    check(&output(r#""datatype": "FP32", "shape": [2, 3, 2], "data": [1, 2]"#), "has 2 values where 12");
    check(&output(r#""datatype": "FP32", "shape": [2, 3, 2]"#), "no data");
    check(&output(r#""datatype": "FP32", "shape": [2, 3, -2], "data": []"#), "shape[2]: invalid value");
    check(&output(r#""datatype": "FP32", "shape": [2, 3, 2], "data": ["a"]"#), "invalid type: string");
    let server = Server::saying(404, "", "unknown");
    let model = remote(&server.url, Format::Json, r#"{"protocol": "oip"}"#);
    assert!(model.prepare().unwrap_err().message.contains("HTTP 404: unknown"));
}

#[test]
fn kserve_travels_by_names() {
    let server = answering(|_| {
        let forecast = |name: &str, rows: [f64; 6]| {
            let quantiles = serde_json::json!({"0.1": rows[..2], "0.5": rows[2..4], "0.9": rows[4..]});
            let kind = "univariate_time_series";
            serde_json::json!({"content": [{"type": kind, "name": name, "mean_forecast": [2, 2], "quantiles": quantiles}]})
        };
        serde_json::json!({"outputs": [forecast("1", GOOD_ROWS.map(|value| value * 2.0)), forecast("0", GOOD_ROWS)]})
    });
    let url = server.url.trim_end_matches("/predict");
    let model = remote(url, Format::Json, r#"{"protocol": "kserve", "seed": 1}"#);
    let forecast = ask(&model, &[&[1.0, f64::NAN, 3.0, f64::NAN], &[4.0]]).unwrap();
    assert_eq!((forecast.of(0), forecast.of(1)[5]), (&GOOD_ROWS[..], 6.0));
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /v1/timeseries/forecast");
    let expected = r#"{"model":"m/1","inputs":[
        {"type":"univariate_time_series","name":"0","series":[1.0,2.0,3.0,3.0],"frequency":"minute",
         "start_timestamp":"2023-11-14T22:10:20Z"},
        {"type":"univariate_time_series","name":"1","series":[4.0],"frequency":"minute",
         "start_timestamp":"2023-11-14T22:13:20Z"}],
        "options":{"horizon":2,"quantiles":[0.1,0.5,0.9],"seed":1}}"#;
    assert_eq!(asked[0].json(), serde_json::from_str::<Value>(expected).unwrap());
}

#[test]
fn wrong_names_are_told() {
    let content = |name: &str| format!(r#"{{"content": [{{"type": "univariate_time_series", "name": "{name}"}}]}}"#);
    let check =
        |outputs: &[String], words| check_wrong("kserve", &format!("{{\"outputs\": [{}]}}", outputs.join(",")), words);
    check(&[], "lacks the series \"0\"");
    check(&[content("x")], "the series \"x\", about which nothing was asked");
    check(&[content("00")], "the series \"00\"");
    check(&[content("2")], "the series \"2\"");
    check(&[content("0"), content("0")], "answers twice");
    check(&[content("0"), content("1")], "lacks the quantile 0.1; it has none");
    check(&[content("0").replace("uni", "multi")], "its type is \"multivariate_time_series\"");
    let failed = r#"{"status": "error", "error": {"type": "e", "message": "too short"}, "content": []}"#;
    check(&[failed.to_owned(), failed.to_owned()], "it says \"too short\"");
    check_wrong("kserve", r#"{"error": {"type": "e", "message": "no model"}}"#, "it says \"no model\"");
}

#[test]
fn a_token_comes_from_the_environment() {
    let server = Server::saying(200, "", GOOD);
    let result = ask_one(&server.url, r#"{"bearer_token_env": "REMOTE_MODEL_NO_SUCH_TOKEN"}"#);
    check_error(result, &server.url, &["REMOTE_MODEL_NO_SUCH_TOKEN holds no token"]);
    assert!(server.asked().is_empty());
}

#[test]
fn health_is_an_answer_of_any_kind() {
    for (code, is_there) in [(200, true), (404, true), (405, true), (500, false), (503, false)] {
        let server = Server::saying(code, "", "x");
        let model = remote(&server.url, Format::Arrow, r#"{"retries": 0}"#);
        assert_eq!(model.prepare().is_ok(), is_there, "{code}");
        assert_eq!(server.asked()[0].line, "GET /predict");
    }
}

#[tokio::test]
async fn a_thread_of_another_runtime_may_wait() {
    let server = Server::saying(200, "", GOOD);
    assert_eq!(ask_one(&server.url, "{}").unwrap().of(0), GOOD_ROWS);
}

#[test]
fn joint_requests_are_refused() {
    let server = Server::saying(200, "", GOOD);
    let levels = Levels::new(vec![0.5]).unwrap();
    let request = Request { together: true, ..Request::new(&[&[1.0]], END_MS, Duration::from_secs(60), 2, &levels) };
    let error = remote(&server.url, Format::Json, "{}").forecast(&request).unwrap_err();
    assert!(error.message.contains("its own past alone"));
}

fn trained(answer: &str) -> Result<Trained, TrainError> {
    let server = Server::saying(200, "content-type: application/json", answer);
    let endpoint = Endpoint { url: server.url.clone(), format: Format::Json };
    let spec = ModelSpec {
        parameters: serde_json::from_str(r#"{"timeout": "5s", "depth": 2}"#).unwrap(),
        ..ModelSpec::default()
    };
    let training = Training { series: &[("a", &[1.0])], end_ms: END_MS, step: Duration::from_secs(60) };
    let result = train(&spec, &endpoint, &training, &Resources::default());
    let expected = r#"{"data":[{"unique_id":"a","ds":"2023-11-14T22:13:20Z","y":1.0}],"parameters":{"depth":2}}"#;
    assert_eq!(server.asked()[0].text(), expected);
    result
}

#[test]
fn training_answers_a_model() {
    let found = trained(r#"{"model_id": "m7", "x": 1}"#).unwrap();
    assert_eq!((found.model_id.as_deref(), found.artifact_uri), (Some("m7"), None));
    assert_eq!(trained(r#"{"artifact_uri": "s3://b/m"}"#).unwrap().artifact_uri.as_deref(), Some("s3://b/m"));
    for (answer, words) in
        [("{}", "neither model_id nor artifact_uri: {}"), ("<p>", "HTML"), (r#"{"model_id": 3}"#, "model_id")]
    {
        let error = trained(answer).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("/predict: "), "{error}");
    }
}
