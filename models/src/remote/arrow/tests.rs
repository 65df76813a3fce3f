use std::time::Duration;

use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Date32Array, Decimal128Array, DictionaryArray, Float32Array, LargeStringArray, StringViewArray,
    TimestampNanosecondArray, TimestampSecondArray,
};

use super::*;
use crate::forecast::Levels;
use crate::forecaster::Request;

const END_MS: i64 = 1_700_000_000_000;
const STEP_MS: i64 = 60_000;

fn with_batch<T>(contexts: &[&[f64]], horizon: usize, then: impl FnOnce(&Batch<'_>) -> T) -> T {
    let levels = Levels::new(vec![0.1, 0.5]).unwrap();
    let request = Request::new(contexts, END_MS, Duration::from_millis(STEP_MS as u64), horizon, &levels);
    then(&Batch::of(&request, 100)[0])
}

fn file(columns: Vec<(&str, ArrayRef)>, compression: Option<CompressionType>) -> Vec<u8> {
    let part = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .unwrap();
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = FileWriter::try_new_with_options(vec![], &part.schema(), options).unwrap();
    writer.write(&part).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

/// The answer about two series, two steps each.
fn read(body: Vec<u8>) -> Result<Vec<Result<Answer, Fault>>, Fault> {
    let reply = Reply { body, is_html: false };
    with_batch(&[&[1.0], &[2.0]], 2, |batch| answers(&reply, batch, 1 << 20))
}

fn ids(names: [&str; 4]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(names))
}

fn floats(values: [f64; 4]) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

fn times(steps: [i64; 4]) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(steps.map(|step| END_MS + step * STEP_MS)))
}

const LOW: [f64; 4] = [1.0, 2.0, 3.0, 4.0];
const HIGH: [f64; 4] = [5.0, 6.0, 7.0, 8.0];

fn good() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("unique_id", ids(["0", "0", "1", "1"])),
        ("ds", times([1, 2, 1, 2])),
        ("mean", floats(HIGH)),
        ("q_0.1", floats(LOW)),
        ("q_0.5", floats(HIGH)),
    ]
}

/// The good answer with another column in place of the one of that name, or behind the others.
fn with(name: &'static str, column: ArrayRef) -> Vec<(&'static str, ArrayRef)> {
    let mut columns = good();
    match columns.iter_mut().find(|(known, _)| *known == name) {
        Some(known) => known.1 = column,
        None => columns.push((name, column)),
    }
    columns
}

#[track_caller]
fn check_good(body: Vec<u8>) {
    let found = read(body).unwrap();
    for (series, low, high) in [(0, [1.0, 2.0], [5.0, 6.0]), (1, [3.0, 4.0], [7.0, 8.0])] {
        let rows = found[series].as_ref().unwrap().rows(&[0.1, 0.5], 2).unwrap();
        assert_eq!(rows, [low, high].concat(), "{series}");
    }
}

#[track_caller]
fn check_wrong(body: Vec<u8>, words: &str) {
    let error = read(body).unwrap_err().to_string();
    assert!(error.contains(words), "{error} lacks {words}");
}

#[test]
fn whatever_writes_it_is_read() {
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        check_good(file(good(), compression));
    }
    let names = ["0", "0", "1", "1"];
    let categories: DictionaryArray<Int8Type> = names.into_iter().collect();
    let ids: [ArrayRef; 3] = [
        Arc::new(LargeStringArray::from_iter_values(names)),
        Arc::new(StringViewArray::from_iter_values(names)),
        Arc::new(categories),
    ];
    for column in ids {
        check_good(file(with("unique_id", column), None));
    }
    let stamps = [1, 2, 1, 2].map(|step| END_MS + step * STEP_MS);
    let times: [ArrayRef; 3] = [
        Arc::new(TimestampSecondArray::from_iter_values(stamps.map(|ms| ms / 1000))),
        Arc::new(
            TimestampNanosecondArray::from_iter_values(stamps.map(|ms| ms * 1_000_000)).with_timezone("Asia/Tokyo"),
        ),
        Arc::new(TimestampMillisecondArray::from_iter_values(stamps).with_timezone("UTC")),
    ];
    for column in times {
        check_good(file(with("ds", column), None));
    }
    let numbers: [ArrayRef; 3] = [
        Arc::new(Float32Array::from_iter_values(LOW.map(|value| value as f32))),
        Arc::new(Decimal128Array::from_iter_values([10, 20, 30, 40]).with_precision_and_scale(9, 1).unwrap()),
        Arc::new(arrow_array::Int64Array::from_iter_values([1, 2, 3, 4])),
    ];
    for column in numbers {
        check_good(file(with("q_0.1", column), None));
    }
    let without = |name: &str| good().into_iter().filter(|(known, _)| *known != name).collect::<Vec<_>>();
    check_good(file(without("ds"), None));
    check_good(file(without("mean"), None));
    check_good(file(without("q_0.5"), None));
    check_good(file(with("q_0.9", self::ids(["a", "b", "c", "d"])), None));
}

#[test]
fn rows_may_come_in_any_order() {
    let columns = vec![
        ("q_0.50", floats([8.0, 5.0, 6.0, 7.0])),
        ("unique_id", ids(["1", "0", "0", "1"])),
        ("q_0.1", floats([4.0, 1.0, 2.0, 3.0])),
        ("ds", times([2, 1, 2, 1])),
    ];
    check_good(file(columns, None));
}

#[track_caller]
fn check_failed(columns: Vec<(&str, ArrayRef)>, words: &str) {
    let found = read(file(columns, None)).unwrap();
    let rows = |answer: Result<Answer, Fault>| answer.and_then(|answer| answer.rows(&[0.1, 0.5], 2));
    let [first, second] = found.try_into().unwrap();
    assert!(rows(first).is_ok());
    let error = rows(second).unwrap_err().to_string();
    assert!(error.contains(words), "{error} lacks {words}");
}

#[test]
fn only_the_wrong_series_fails() {
    check_failed(with("ds", times([1, 2, 1, 1])), "it has step 1 twice");
    check_failed(with("ds", times([1, 2, 2, 3])), "its ds 2023-11-14T22:16:20Z is not among the times");
    check_failed(with("ds", times([1, 2, 0, 1])), "is not among the times");
    let cut = |rows| good().into_iter().map(|(name, column)| (name, column.slice(0, rows))).collect::<Vec<_>>();
    check_failed(cut(3), "it has 1 rows where 2");
    check_failed(cut(2), "lacks the unique_id \"1\"");
    check_failed(with("q_0.1", floats([1.0, 2.0, 3.0, f64::NAN])), "quantile 0.1 has no finite number at step 2");
    check_failed(with("q_0.1", floats([1.0, 2.0, f64::INFINITY, 3.0])), "quantile 0.1 has no finite number at step 1");
    let null = Float64Array::from(vec![Some(1.0), Some(2.0), None, Some(3.0)]);
    check_failed(with("q_0.1", Arc::new(null)), "quantile 0.1 has no finite number at step 1");
    check_failed(with("q_0.1", floats([1.0, 2.0, 9.0, 3.0])), "quantiles cross");
    check_failed(with("mean", floats([5.0, 6.0, f64::NAN, 8.0])), "point forecast has no finite number at step 1");
    let without_times = |names| vec![("unique_id", ids(names)), ("q_0.1", floats(LOW)), ("q_0.5", floats(HIGH))];
    check_wrong_rows(without_times(["0", "0", "0", "1"]));
}

fn check_wrong_rows(columns: Vec<(&str, ArrayRef)>) {
    let found = read(file(columns, None)).unwrap();
    let text = |at: usize| found[at].as_ref().unwrap_err().to_string();
    assert!(text(0).contains("more than the 2 rows"), "{}", text(0));
    assert!(text(1).contains("it has 1 rows"), "{}", text(1));
}

#[test]
fn another_table_is_refused() {
    check_wrong(file(with("unique_id", ids(["0", "0", "1", "7"])), None), "the unique_id \"7\", about which nothing");
    check_wrong(file(with("unique_id", ids(["0", "0", "1", "01"])), None), "the unique_id \"01\"");
    check_wrong(
        file(with("unique_id", Arc::new(StringArray::from(vec![Some("0"), None, None, None]))), None),
        "no unique_id",
    );
    check_wrong(file(with("unique_id", floats(LOW)), None), "its column unique_id is Float64, not text");
    check_wrong(file(with("ds", ids(["a", "b", "c", "d"])), None), "its column ds is Utf8, not a time");
    check_wrong(file(with("q_0.1", ids(["a", "b", "c", "d"])), None), "its column q_0.1 is Utf8, not a number");
    check_wrong(file(with("mean", times([1, 2, 1, 2])), None), "its column mean is Timestamp");
    check_wrong(
        file(vec![("id", ids(["0", "0", "1", "1"])), ("y", floats(LOW))], None),
        "lacks the column unique_id; it has id, y",
    );
    let empty: DictionaryArray<Int32Type> = [None::<&str>; 4].into_iter().collect();
    check_wrong(file(with("unique_id", Arc::new(empty)), None), "no unique_id");
    let twice = [good(), vec![("ds", times([1, 2, 1, 2]))]].concat();
    check_wrong(file(twice, None), "column ds is there twice");
    let days = Date32Array::from_iter_values([1, 2, 1, 2]);
    let found = read(file(with("ds", Arc::new(days)), None)).unwrap();
    assert!(found[0].as_ref().unwrap_err().to_string().contains("its ds 1970-01-02T00:00:00Z"));
    let doubled = read(file(with("q_0.10", floats(LOW)), None)).unwrap();
    let error = doubled[0].as_ref().unwrap().rows(&[0.1, 0.5], 2).unwrap_err().to_string();
    assert!(error.contains("quantile 0.1 is there twice"), "{error}");
}

#[test]
fn damage_neither_panics_nor_takes_memory() {
    check_wrong(b"{}".to_vec(), "no Arrow file");
    check_wrong(MAGIC.to_vec(), "too short");
    check_wrong([MAGIC, &[0; 40], MAGIC].concat(), "damaged");
    let dictionary: DictionaryArray<Int8Type> = ["0", "0", "1", "1"].into_iter().collect();
    let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(["0", "0", "1", "1"]));
    let whole = [
        file(good(), None),
        file(good(), Some(CompressionType::LZ4_FRAME)),
        file(good(), Some(CompressionType::ZSTD)),
        file(with("unique_id", Arc::new(dictionary)), Some(CompressionType::ZSTD)),
        file(with("unique_id", views), None),
    ];
    for whole in whole {
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                _ = read(damaged);
            }
            _ = read(whole[..at].to_vec());
        }
    }
}

#[test]
fn a_file_that_unpacks_to_too_much_is_refused() {
    let zeros: ArrayRef = Arc::new(Float64Array::from(vec![0.0; 1 << 20]));
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let bomb = file(vec![("unique_id", Arc::clone(&zeros))], Some(compression));
        assert!(bomb.len() < 1 << 18);
        check_wrong(bomb, "unpacks to more than 1048576 bytes");
    }
    // A length that nothing can have, where the first one stands in an LZ4 file.
    let mut absurd = file(vec![("unique_id", zeros.slice(0, 1000))], Some(CompressionType::LZ4_FRAME));
    let from = absurd.windows(4).position(|bytes| bytes == [0x04, 0x22, 0x4d, 0x18]).unwrap() - 8;
    absurd[from..from + 8].copy_from_slice(&(1_i64 << 50).to_le_bytes());
    check_wrong(absurd, "unpacks to more than");
}

#[test]
fn what_is_written_is_read_again() {
    let gappy = [f64::NAN, 1.0, f64::NAN, 3.0];
    let bytes = with_batch(&[&gappy, &[4.0]], 2, |batch| write(batch).unwrap());
    let mut reader = FileReaderBuilder::new().build(Cursor::new(bytes)).unwrap();
    let part = reader.next().unwrap().unwrap();
    let column = |name: &str| part.column_by_name(name).unwrap();
    assert_eq!(column("unique_id").as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["0", "0", "0", "1"]);
    let values: Vec<_> = column("y").as_primitive::<Float64Type>().iter().collect();
    assert_eq!(values, [Some(1.0), None, Some(3.0), Some(4.0)]);
    let times = column("ds").as_primitive::<arrow_array::types::TimestampMillisecondType>().values();
    assert_eq!(times[..], [END_MS - 2 * STEP_MS, END_MS - STEP_MS, END_MS, END_MS]);
}
