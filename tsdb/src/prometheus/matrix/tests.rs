use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::frame::Frame;
use crate::read::{Bound, Limits, RangeQuery};
use crate::time::{Step, Timestamp};

const START: i64 = 1_700_000_000;

fn query(points: i64, step_ms: i64) -> RangeQuery {
    let start = Timestamp::from_seconds(START);
    let end = Timestamp::from_millis(start.millis() + (points - 1) * step_ms);
    RangeQuery::new("up", start, end, Step::from_millis(step_ms).unwrap()).unwrap()
}

fn parse_chunks<'a>(
    query: &RangeQuery,
    limits: &Limits,
    chunks: impl Iterator<Item = &'a [u8]>,
) -> Result<(Frame, Vec<String>, u64), ReadFault> {
    let mut rows = Rows::new(query, limits);
    let mut parser = Parser::new(&mut rows);
    for chunk in chunks {
        parser.feed(chunk)?;
    }
    parser.finish()?;
    rows.finish()
}

/// Everything in one text, so that NaN equals NaN and -0 doesn't equal 0.
fn shown(result: &Result<(Frame, Vec<String>, u64), ReadFault>) -> String {
    match result {
        Ok((frame, warnings, bytes)) => format!(
            "{:?} {:?} {warnings:?} {bytes}",
            frame.series(),
            frame.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        ),
        Err(fault) => format!("{fault:?}"),
    }
}

/// Parses `body` at once, byte by byte and in chunks of many sizes: it is always the same.
fn parse(query: &RangeQuery, limits: &Limits, body: &[u8]) -> Result<(Frame, Vec<String>, u64), ReadFault> {
    let whole = parse_chunks(query, limits, std::iter::once(body));
    let mut rng = StdRng::seed_from_u64(body.len() as u64);
    for largest in [1, 2, 7, 40, 100, 1000] {
        let mut rest = body;
        let chunks = std::iter::from_fn(|| {
            let (chunk, after) = rest.split_at(rng.random_range(1..=largest).min(rest.len()));
            rest = after;
            (!chunk.is_empty()).then_some(chunk)
        });
        assert_eq!(shown(&parse_chunks(query, limits, chunks)), shown(&whole), "in chunks of up to {largest}");
    }
    whole
}

/// The answer with these `result` elements.
fn matrix(result: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{result}]}}}}"#)
}

/// The answer with one series `up` of these points.
fn points(points: &str) -> String {
    matrix(&format!(r#"{{"metric":{{"__name__":"up"}},"values":[{points}]}}"#))
}

#[track_caller]
fn check(body: &str, want: &[(&str, [f64; 3])]) -> Vec<String> {
    let (frame, warnings, bytes) = parse(&query(3, 10_000), &Limits::default(), body.as_bytes()).expect(body);
    assert_eq!(frame.series().len(), want.len(), "{body}");
    for ((labels, values), (name, expected)) in frame.rows().zip(want) {
        assert_eq!(labels.to_string(), *name);
        let same = values.iter().zip(expected).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()));
        assert!(same, "{values:?} is not {expected:?} for {body}");
    }
    assert_eq!(bytes, body.len() as u64);
    warnings
}

const GAP: f64 = f64::NAN;

#[test]
fn good_answers() {
    check(&matrix(""), &[]);
    check(&points(""), &[]);
    check(&points(r#"[1700000000,"NaN"],[1700000010,"NaN"]"#), &[]);
    check(&points(r#"[1700000000,"1"],[1700000010,"2"],[1700000020,"3"]"#), &[("up", [1.0, 2.0, 3.0])]);
    check(&points(r#"[1700000020,"3.25"]"#), &[("up", [GAP, GAP, 3.25])]);
    check(&points(r#"[1700000000.000,"1"],[1.70000001e9,2],[1700000020.001,-3.5e-1]"#), &[("up", [1.0, 2.0, -0.35])]);
    let infinite = [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY];
    check(&points(r#"[1700000000,"+Inf"],[1700000010,"-Inf"],[1700000020,"Inf"]"#), &[("up", infinite)]);
    check(
        &points(r#"[1700000000,"0.12345678901234567"],[1700000010,"-1e-7"],[1700000020,"1.7976931348623157e+308"]"#),
        &[("up", [0.12345678901234567, -1e-7, f64::MAX])],
    );
    check(
        " \n{ \"status\" :\t\"success\" , \"data\" : { \"resultType\" : \"matrix\" , \"result\" : [ { \"metric\" : \
        { \"a\" : \"b\" , \"c\" : \"d\" } , \"values\" : [ [ 1700000000 , \"1\" ] , [1700000010 ,2 ] ] } ] } } \r\n",
        &[(r#"{a="b", c="d"}"#, [1.0, 2.0, GAP])],
    );
}

#[test]
fn keys_in_any_order_and_unknown_ones() {
    let body = r#"{"isPartial":false,"trace":{"a":[[],{},[1,{"b":null}],"]}"],"c":true},"warnings":["w","v"],"x":-1e5,
        "data":{"stats":{"n":[1,2]},"result":[{"values":[[1700000010,"5"]],"q":[],"metric":{}},
        {"metric":{"a":"1"},"values":[[1700000000,"6"]]}],"resultType":"matrix"},"infos":["i"],"warnings":["w"],
        "status":"success","y":""}"#;
    let warnings = check(body, &[("{}", [GAP, 5.0, GAP]), (r#"{a="1"}"#, [6.0, GAP, GAP])]);
    assert_eq!(warnings, ["w", "v", "i"]);
    let warnings = check(
        r#"{"status":"success","warnings":null,"data":{"resultType":"matrix","result":[
        {"metric":{"a":"h"},"histograms":[[1700000000,{"count":"1","buckets":[[0,"1","2","3"]]}]]}]}}"#,
        &[],
    );
    assert_eq!(warnings, ["native histograms are left out"]);
}

#[test]
fn labels_with_every_escape() {
    let body = matrix(
        r#"{"metric":{"a":"\"\\\/\b\f\n\r\t","b":"\u00e9\uD83D\ude00é😀","\u0063":"x","gone":""},"values":[[1700000000,"1"]]}"#,
    );
    let (frame, ..) = parse(&query(3, 10_000), &Limits::default(), body.as_bytes()).unwrap();
    let labels = frame.series()[0].iter().collect::<Vec<_>>();
    assert_eq!(labels, [("a", "\"\\/\u{8}\u{c}\n\r\t"), ("b", "é😀é😀"), ("c", "x")]);
}

#[test]
fn long_strings_in_short_chunks() {
    let long = "x".repeat(20_000);
    check(&format!(r#"{{"status":"success","x":"{long}","data":{{"resultType":"matrix","result":[]}}}}"#), &[]);
}

/// Parses what can't be read: one clear fault of this kind that says these words.
#[track_caller]
fn check_broken(body: impl AsRef<[u8]>, kind: &str, words: &str) {
    let limits = Limits { series: 2, samples: 9, bytes: 2000 };
    let body = body.as_ref();
    let fault = parse(&query(3, 10_000), &limits, body).expect_err(&String::from_utf8_lossy(body));
    assert_eq!(fault.kind(), kind, "{fault} for {}", String::from_utf8_lossy(body));
    assert!(fault.to_string().contains(words), "`{fault}` does not say `{words}`");
}

#[test]
fn broken_answers_that_are_no_json() {
    for (body, words) in [
        ("<html><body>502 Bad Gateway</body></html>", "at byte 0: `{` expected at the start of the answer, found `<`"),
        ("null", "found `n`"),
        ("[]", "found `[`"),
        ("\u{feff}{}", r"found `\xef`"),
        (r#"{"status""success"}"#, "`:` expected after a key"),
        (r#"{"status":success}"#, "`\"` expected at the start of a string"),
        (r#"{status:"success"}"#, "at byte 1: `\"` expected"),
        (r#"{"status":"success" "data":{}}"#, "`,` expected between the members"),
        (r#"{"status":"success",}"#, "`\"` expected at the start of a string, found `}`"),
        (r#"{"status":"success"]"#, "`,` expected"),
        (r#"{"x":[1,]}"#, "a `,` before the end of an array"),
        (r#"{"x":[1}"#, "between the elements"),
        (r#"{"x":nothing}"#, "`nothing` is no JSON value"),
        (r#"{"x":}"#, "`}` where a value is expected"),
        (r#"{"x":"\q"}"#, r"the escape `\q`"),
        (r#"{"x":"\u12g4"}"#, "without four hexadecimal digits"),
        (r#"{"x":"\ud83d!!"}"#, "half of a surrogate pair"),
        (r#"{"x":"\ude00\ud83d"}"#, "half of a surrogate pair"),
        ("{\"x\":\"a\nb\"}", "a control character"),
    ] {
        check_broken(body, "malformed", words);
    }
    check_broken(b"{\"x\":\"\xff\"}", "malformed", "not UTF-8");
    check_broken(format!("{{\"x\":{}", "[".repeat(100)), "malformed", "nested more than 64 deep");
    check_broken(matrix("") + "{}", "malformed", "text after the end");
    check_broken(matrix("") + "\0", "malformed", "text after the end");
}

#[test]
fn broken_answers_that_are_no_matrix() {
    for (body, words) in [
        ("{}", "there is no `status`"),
        (r#"{"status":"success"}"#, "there is no `resultType`"),
        (r#"{"status":"success","data":null}"#, "there is no `resultType`"),
        (r#"{"status":"success","data":{"resultType":"matrix"}}"#, "there is no `result`"),
        (r#"{"status":"success","data":{"result":[]}}"#, "there is no `resultType`"),
        (r#"{"status":"maybe","data":{"resultType":"matrix","result":[]}}"#, "the status is `maybe`"),
        (r#"{"status":"success","status":"error"}"#, "`status` is there twice"),
        (r#"{"status":"success","data":[]}"#, "at the start of `data`"),
        (r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#, "the `resultType` is `vector`"),
        (r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#, "the `resultType` is `scalar`"),
        (r#"{"status":"success","data":{"result":[1700000000,"1"]}}"#, "at the start of a series"),
        (r#"{"status":"success","data":{"result":{}}}"#, "at the start of `result`"),
        (r#"{"status":"success","data":{"resultType":"matrix","result":null}}"#, "at the start of `result`"),
        (r#"{"status":"success","data":{"result":[],"result":[]}}"#, "`result` is there twice"),
        (r#"{"status":"success","isPartial":"yes"}"#, "where a value is expected"),
        (r#"{"status":"success","isPartial":yes}"#, "`isPartial` is `yes`"),
        (r#"{"status":"success","warnings":"w"}"#, "at the start of the warnings"),
        (r#"{"status":"success","warnings":[1]}"#, "at the start of a string"),
    ] {
        check_broken(body, "malformed", words);
    }
}

#[test]
fn broken_series() {
    for (result, words) in [
        ("{}", "a series without `metric`"),
        (r#"{"values":[]}"#, "a series without `metric`"),
        (r#"{"metric":{}}"#, "a series without `values`"),
        (r#"{"metric":{},"value":[1700000000,"1"]}"#, "a series without `values`"),
        (r#"{"metric":{},"metric":{},"values":[]}"#, "`metric` is there twice"),
        (r#"{"metric":{},"values":[],"values":[]}"#, "`values` is there twice"),
        (r#"{"metric":[],"values":[]}"#, "at the start of a series' labels"),
        (r#"{"metric":{"a":1},"values":[]}"#, "at the start of a string"),
        (r#"{"metric":{"a":"1","a":"2"},"values":[]}"#, "the label `a` is there twice"),
        (r#"{"metric":{"":"1"},"values":[]}"#, "an empty name"),
        (r#"{"metric":{},"values":{}}"#, "at the start of a series' values"),
        (r#"{"metric":{},"values":[]}{}"#, "between the elements"),
        ("7", "at the start of a series"),
    ] {
        check_broken(matrix(result), "malformed", words);
    }
    let one = r#"{"metric":{"a":"1"},"values":[[1700000000,"1"]]}"#;
    check_broken(matrix(&format!("{one},{one}")), "duplicate", r#"{a="1"}"#);
}

#[test]
fn broken_points() {
    for (point, words) in [
        ("1700000000", "at the start of a point"),
        ("[]", "where a value is expected"),
        ("[1700000000]", "between time and value"),
        (r#"[1700000000,"1",2]"#, "at the end of a point"),
        (r#"["1700000000","1"]"#, "where a value is expected"),
        (r#"[null,"1"]"#, "`null` is no time"),
        (r#"[1e999,"1"]"#, "`1e999` is no time"),
        (r#"[1700000000,""]"#, "is no value"),
        (r#"[1700000000,"one"]"#, "is no value"),
        (r#"[1700000000,"1e999"]"#, "is no value"),
        (r#"[1700000000,"0x1p3"]"#, "is no value"),
        (r#"[1700000000,"1.2.3"]"#, "is no value"),
        (r#"[1700000000,null]"#, "is no value"),
        (r#"[1700000000,{}]"#, "where a value is expected"),
        (r#"[1700000005,"1"]"#, "the time 1700000005 is not on the grid"),
        (r#"[1700000000.002,"1"]"#, "the time 1700000000.002 is not on the grid"),
        (r#"[1699999990,"1"]"#, "the time 1699999990 is before"),
        (r#"[1700000030,"1"]"#, "the time 1700000030 is after"),
        (r#"[99999999999990,"1"]"#, "is after"),
        (r#"[1700000010,"1"],[1700000000,"1"]"#, "does not come after"),
        (r#"[1700000010,"1"],[1700000010,"1"]"#, "does not come after"),
        (r#"[1700000000,"1"][1700000010,"1"]"#, "between the elements"),
        (r#"[1700000000,"1"],"#, "a `,` before the end"),
        // A second point that the fast loop looks at, with room after it.
        (r#"[1700000000,"1"],[1700000010,"1:2"],[1700000020,"1.0000000000000000000000000"]"#, "is no value"),
        (r#"[1700000000,"1"],[1700000010,"12",5],[1700000020,"1.0000000000000000000000000"]"#, "at the end of a point"),
    ] {
        check_broken(points(point), "malformed", words);
    }
}

#[test]
fn errors_and_parts_are_said() {
    for (body, words) in [
        (r#"{"status":"error","errorType":"bad_data","error":"parse \"x\""}"#, r#"refused (bad_data): parse "x""#),
        (r#"{"status":"error","data":null,"errorType":"422","error":"e"}"#, "refused (422): e"),
        (r#"{"error":"e","status":"error"}"#, "refused (unknown): e"),
        (r#"{"status":"error"}"#, "the server says no more"),
    ] {
        check_broken(body, "query", words);
    }
    let partial = matrix("").replacen('{', r#"{"isPartial":true,"#, 1);
    check_broken(partial, "query", "isPartial");
}

#[test]
fn every_limit_is_named() {
    let series = |n: usize| format!(r#"{{"metric":{{"a":"{n}"}},"values":[[1700000000,"1"]]}}"#);
    let body = matrix(&(0..10).map(series).collect::<Vec<_>>().join(","));
    let check = |limits: Limits, bound| {
        let fault = parse(&query(3, 10_000), &limits, body.as_bytes()).unwrap_err();
        assert!(matches!(fault, ReadFault::TooLarge { bound: found, .. } if found == bound), "{fault}");
    };
    assert!(parse(&query(3, 10_000), &Limits { series: 10, samples: 30, bytes: 2000 }, body.as_bytes()).is_ok());
    check(Limits { series: 9, ..Limits::default() }, Bound::Series);
    check(Limits { samples: 29, ..Limits::default() }, Bound::Samples);
    check(Limits { bytes: body.len() as u64 - 1, ..Limits::default() }, Bound::Bytes);
    let huge = query(i64::MAX / 20_000, 1000);
    let fault = parse(&huge, &Limits::default(), body.as_bytes()).unwrap_err();
    assert_eq!(fault, ReadFault::TooLarge { bound: Bound::Samples, limit: 200_000_000 });
}

#[test]
fn an_answer_cut_anywhere_is_truncated() {
    let body = points(r#"[1700000000,"1.5"],[1700000010,"2"]"#);
    for length in 0..body.len() {
        let fault = parse(&query(3, 10_000), &Limits::default(), &body.as_bytes()[..length]).unwrap_err();
        assert_eq!(fault, ReadFault::Truncated { bytes: length as u64 }, "{}", &body[..length]);
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = StdRng::seed_from_u64(3);
    let body = points(r#"[1700000000,"1.5"],[1700000010,"-2e5"],[1700000020,"0.1234567890123456789"]"#);
    for _ in 0..5_000 {
        let mut bytes = body.clone().into_bytes();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..3) {
                0 => bytes[at] = rng.random(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, br#"{}[],:"\0"#[rng.random_range(0..9)]),
            }
        }
        let _ = parse(&query(3, 10_000), &Limits::default(), &bytes);
    }
}

fn random_value(rng: &mut StdRng) -> f64 {
    match rng.random_range(0..8) {
        0 => f64::from_bits(rng.random()),
        1 => rng.random_range(0..1000) as f64,
        2 => [f64::INFINITY, f64::NEG_INFINITY, -0.0, GAP][rng.random_range(0..4)],
        3 => rng.random(),
        _ => (rng.random_range(-1e6..1e6f64) * 100.0).round() / 100.0,
    }
}

fn written(value: f64, rng: &mut StdRng) -> String {
    match value {
        v if v.is_nan() => "NaN".to_string(),
        v if v.is_infinite() => if v > 0.0 { "+Inf" } else { "-Inf" }.to_string(),
        v if rng.random_range(0..10) == 0 => format!("{v:e}"),
        v => v.to_string(),
    }
}

#[test]
fn random_matrices_come_back_bit_by_bit() {
    let mut rng = StdRng::seed_from_u64(5);
    for (count, step) in [(1, 1000), (7, 500), (50, 10_000), (300, 50_000), (40, 1)] {
        let query = query(count, step);
        let (mut result, mut want) = (vec![], vec![]);
        for name in 0..rng.random_range(1..6) {
            let (mut points, mut any) = (vec![], false);
            for point in 0..count {
                let value = random_value(&mut rng);
                let present = rng.random_range(0..10) > 0;
                want.push(if present && !value.is_nan() { value } else { GAP });
                if present {
                    any |= !value.is_nan();
                    let seconds = (START * 1000 + point * step) as f64 / 1000.0;
                    points.push(format!(r#"[{seconds},"{}"]"#, written(value, &mut rng)));
                }
            }
            want.truncate(want.len() - if any { 0 } else { count as usize });
            result.push(format!(r#"{{"metric":{{"n":"{name}"}},"values":[{}]}}"#, points.join(",")));
        }
        let (frame, ..) = parse(&query, &Limits::default(), matrix(&result.join(",")).as_bytes()).unwrap();
        let bits = |values: &[f64]| values.iter().map(|v| if v.is_nan() { 1 } else { v.to_bits() }).collect::<Vec<_>>();
        assert_eq!(bits(frame.values()), bits(&want), "{count} points every {step} ms");
    }
}

/// Parses a body as the next try of the piece that `rows` is at.
fn feed(rows: &mut Rows, body: &str) -> Result<(), ReadFault> {
    let mut parser = Parser::new(rows);
    parser.feed(body.as_bytes())?;
    parser.finish()
}

#[test]
fn pieces_are_joined_also_where_one_has_to_come_again() {
    let series =
        |name: &str, time: i64, value: i64| format!(r#"{{"metric":{{"n":"{name}"}},"values":[[{time},"{value}"]]}}"#);
    let backwards =
        |name: &str, time: i64, value: i64| format!(r#"{{"values":[[{time},"{value}"]],"metric":{{"n":"{name}"}}}}"#);
    let mut rows = Rows::new(&query(4, 10_000), &Limits::default());
    rows.next_piece(0, 2);
    let first = matrix(&[series("a", START, 1), series("b", START + 10, 2)].join(","));
    feed(&mut rows, &first).unwrap();
    rows.next_piece(2, 2);
    let cut = matrix(&[series("b", START + 20, 9), series("d", START + 20, 9), series("a", START + 30, 9)].join(","));
    assert_eq!(feed(&mut rows, &cut[..cut.len() - 2]).unwrap_err().kind(), "truncated");
    rows.restart_piece();
    let second = matrix(&[series("c", START + 30, 3), backwards("b", START + 30, 4)].join(","));
    feed(&mut rows, &second).unwrap();
    let (frame, _, bytes) = rows.finish().unwrap();
    let names = frame.series().iter().map(|labels| labels.get("n").unwrap()).collect::<Vec<_>>();
    assert_eq!(names, ["a", "b", "c"]);
    let shown = frame.values().iter().map(|v| v.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(shown, "1 NaN NaN NaN NaN 2 NaN 4 NaN NaN NaN 3");
    assert_eq!(bytes, (first.len() + second.len()) as u64);
}
