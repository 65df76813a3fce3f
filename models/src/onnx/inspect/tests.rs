use super::sample::{Bytes, entry, external, field, good, int, model, node, port, tensor};
use super::*;

const LIMITS: Limits = Limits { file_bytes: 1 << 20, structure_bytes: 1 << 16, nodes: 100, tensors: 50, depth: 3 };

/// Looks into `bytes`, with a file `model.onnx.data` of 64 bytes and a link `link.data` beside them.
fn look(bytes: &[u8]) -> Result<Inspection, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, bytes).unwrap();
    fs::write(folder.path().join("model.onnx.data"), [0; 64]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.data")).unwrap();
    inspect(&path, &LIMITS).map_err(|error| error.to_string())
}

fn check_refused(bytes: &[u8], message: &str) {
    match look(bytes) {
        Ok(found) => panic!("{message:?} was expected, found {found:?}"),
        Err(error) => assert!(error.contains(message) && error.contains("model.onnx"), "{error:?} lacks {message:?}"),
    }
}

fn weights(dims: &[u64], rest: &[Bytes]) -> Bytes {
    model(&[node("", "Identity", &[]), field(5, tensor("w", dims, rest))])
}

/// A node whose attribute is a graph with such a node, `depth` times.
fn nested(depth: usize) -> Bytes {
    let inner = if depth == 0 { node("", "Identity", &[]) } else { nested(depth - 1) };
    node("", "If", &[field(6, inner)])
}

#[test]
fn a_model_says_what_is_in_it() {
    let found = look(&good(8, 1)).unwrap();
    let shape = |rest: &[u64]| {
        let fixed = rest.iter().map(|size| Dimension::Fixed(*size));
        std::iter::once(Dimension::Open("batch".into())).chain(fixed).collect::<Vec<_>>()
    };
    assert_eq!(found.inputs, [Port { name: "context".into(), element: "f32".into(), shape: shape(&[512]) }]);
    assert_eq!(found.outputs, [Port { name: "quantiles".into(), element: "f32".into(), shape: shape(&[3, 64]) }]);
    assert_eq!(found.operators, BTreeMap::from([("Identity".to_owned(), 1)]));
    assert_eq!((found.nodes, found.parameters, found.ir_version), (1, 8, 8));
    assert_eq!((found.producer.as_str(), &found.operator_sets[..]), ("test", &[(String::new(), 18)][..]));
    assert_eq!(found.metadata, [("openanomaly.family".to_owned(), "bolt".to_owned())]);
}

#[test]
fn what_may_be_there_is_taken() {
    let packed = field(1, [2, 2]);
    for good in [
        model(&[node("ai.onnx.ml", "Scaler", &[]), node("com.microsoft", "DynamicQuantizeMatMul", &[])]),
        model(&[nested(2)]),
        weights(&[], &[field(9, [0; 4])]),
        weights(&[2, 0], &[]),
        weights(&[4], &[field(4, [0; 16])]),
        weights(&[2], &[packed, field(9, [0; 32])]),
        weights(&[4, 4], &[external("location", "model.onnx.data"), external("length", "64"), int(14, 1)]),
        weights(&[4], &[external("location", "model.onnx.data"), external("offset", "48")]),
        // Two int4 values in a byte, and a field that nobody knows.
        model(&[
            node("", "Identity", &[]),
            field(5, [int(1, 5), int(2, 22), field(9, [0; 3]), field(99, "x")].concat()),
        ]),
        // An old graph, with its weights among its inputs.
        model(&[
            node("", "Identity", &[]),
            field(5, tensor("w", &[], &[field(9, [0; 4])])),
            field(11, port("w", &[1])),
        ]),
    ] {
        let found = look(&good).unwrap();
        assert_eq!(found.inputs.len(), 1);
    }
}

#[test]
fn what_is_no_model_is_named() {
    for (bytes, message) in [
        (&b""[..], "an empty file"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b" \n<html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (b"{\"error\": 1}", "JSON"),
        (b"PK\x03\x04data", "ZIP"),
        (b"\x80\x02}q\x00", "pickle"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00{\"a\"", "safetensors"),
        (b"hello, this is text", "makes no sense"),
        (&[0; 100], "makes no sense"),
        (&[0xff; 100], "makes no sense"),
        (&int(1, 8), "without a graph"),
        (&field(7, ""), "without a graph"),
        (&int(7, 3), "without a graph"),
        (&[field(7, node("", "Identity", &[])), vec![0x0b]].concat(), "makes no sense"),
        // A second graph, to those who cut its tag to 32 bits.
        (&[model(&[node("", "Identity", &[])]), vec![0xba, 0x80, 0x80, 0x80, 0x10, 0]].concat(), "makes no sense"),
    ] {
        check_refused(bytes, message);
    }
}

#[test]
fn every_cut_is_found() {
    let whole = good(8, 1);
    let metadata = field(14, entry("openanomaly.family", "bolt")).len();
    for length in 0..whole.len() {
        // What ends between two fields is a model that says less.
        let found = look(&whole[..length]);
        assert!(found.is_err() || length == whole.len() - metadata, "{length}: {found:?}");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let whole = good(4, 1);
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _ = look(&bytes);
        }
    }
}

#[test]
fn tensors_must_have_what_they_say() {
    let gib = 1 << 30;
    for (bytes, message) in [
        (weights(&[2 * gib], &[]), "too large"),
        (weights(&[gib, gib, gib], &[]), "too large"),
        (weights(&[u64::MAX], &[field(9, [0; 4])]), "too large"),
        (weights(&[1; 17], &[field(9, [0; 4])]), "dimensions"),
        (weights(&[1000], &[field(9, [0; 4])]), "takes 4000 bytes, and it has 4"),
        (weights(&[1], &[field(9, [0; 400])]), "takes 4 bytes"),
        (weights(&[5], &[field(4, [0; 16])]), "more values"),
        (weights(&[1], &[]), "more values"),
        (weights(&[1], &[int(2, 77), field(9, [0; 4])]), "type 77"),
        (weights(&[1], &[int(2, 0), field(9, [0; 4])]), "type 0"),
        (model(&[node("", "Constant", &[field(5, tensor("c", &[1 << 40], &[]))])]), "too large"),
        (model(&[node("", "Constant", &[field(22, "")])]), "sparse"),
        (model(&[node("", "Identity", &[]), field(15, "")]), "sparse"),
    ] {
        check_refused(&bytes, message);
    }
}

#[test]
fn weights_lie_beside_the_graph() {
    let away = |entries: &[(&str, &str)]| {
        let entries: Bytes = entries.iter().flat_map(|(key, value)| external(key, value)).collect();
        weights(&[4], &[entries])
    };
    for location in [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".hidden",
        "",
        "sub/model.data",
        "sub\\model.data",
        "C:model.data",
        "a\0b",
        "model.onnx",
        "Manifest.JSON",
        // What ONNX Runtime takes for an address in memory.
        "*/_ORT_MEM_ADDR_/*",
    ] {
        check_refused(&away(&[("location", location)]), "plain file name");
    }
    check_refused(&away(&[("location", "other.data")]), "missing");
    check_refused(&away(&[("location", "model.onnx.data"), ("offset", "60")]), "too short");
    check_refused(&away(&[("location", "model.onnx.data"), ("offset", "18446744073709551615")]), "too short");
    check_refused(&away(&[("location", "model.onnx.data"), ("offset", "-1")]), "no number");
    check_refused(&away(&[("location", "model.onnx.data"), ("length", "4")]), "not that of its external weights");
    check_refused(&away(&[("location", "model.onnx.data"), ("location", "b.data")]), "second place");
    check_refused(&away(&[("offset", "0")]), "nowhere");
    check_refused(&weights(&[4], &[int(14, 1), field(9, [0; 16])]), "nowhere");
    #[cfg(unix)]
    check_refused(&away(&[("location", "link.data")]), "not a file");
    let constant = field(5, tensor("c", &[1], &[external("location", "/etc/passwd")]));
    check_refused(&model(&[node("", "Constant", &[constant])]), "plain file name");
}

#[test]
fn there_are_limits() {
    let many = |graph: Bytes, times: usize| model(&vec![graph; times]);
    let scalar = field(5, tensor("w", &[], &[field(9, [0; 4])]));
    for (bytes, message) in [
        (many(node("", "Identity", &[]), 101), "operators: 101 are more than the 100"),
        (many(field(1, ""), 2), "not allowed"),
        (many(scalar, 51), "tensors: 51"),
        (model(&[nested(3)]), "levels of graphs"),
        (model(&[nested(2000)]), "levels of graphs"),
        (model(&[node("", "Identity", &[]), field(13, [0; 1 << 17])]), "beside weights"),
        (good(1 << 18, 0), "bytes: "),
        (model(&[node("", &"x".repeat(5000), &[])]), "bytes of a name"),
        ([model(&[node("", "Identity", &[])]), field(14, entry("a", "b")).repeat(300)].concat(), "metadata entries"),
        ([model(&[node("", "Identity", &[])]), field(20, "")].concat(), "training"),
        ([model(&[node("", "Identity", &[])]), field(25, "")].concat(), "functions"),
    ] {
        check_refused(&bytes, message);
    }
}

#[test]
fn operators_only_compute() {
    for (domain, kind) in [
        ("evil.corp", "Run"),
        ("com.microsoft", "EPContext"),
        ("com.microsoft", "PyOp"),
        ("com.microsoft.nchwc", "Conv"),
        ("ai.onnx.preview.training", "Adam"),
        ("ai.onnx.contrib", "PyCustomOp"),
        ("", ""),
        ("", "a/b"),
        ("", &"x".repeat(65)),
    ] {
        check_refused(&model(&[node(domain, kind, &[])]), "not allowed");
        check_refused(&model(&[node("", "If", &[field(6, node(domain, kind, &[]))])]), "not allowed");
    }
}

#[test]
fn folders_and_pipes_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let error = inspect(folder.path(), &LIMITS).unwrap_err().to_string();
    assert!(error.contains("a folder or a device"), "{error}");
    assert!(inspect(&folder.path().join("none"), &LIMITS).is_err());
    assert!(!cfg!(unix) || inspect(Path::new("/dev/zero"), &LIMITS).is_err());
}
