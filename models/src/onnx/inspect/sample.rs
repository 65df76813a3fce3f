//! ONNX files for tests, written field by field, so that they can be wrong in any way.

/// Bytes of a message.
pub(in crate::onnx) type Bytes = Vec<u8>;

fn varint(mut number: u64) -> Bytes {
    let mut bytes = vec![];
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

/// An integer field.
pub(in crate::onnx) fn int(number: u64, value: u64) -> Bytes {
    [varint(number << 3), varint(value)].concat()
}

/// A field of text, bytes or a message.
pub(in crate::onnx) fn field(number: u64, content: impl AsRef<[u8]>) -> Bytes {
    let content = content.as_ref();
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// `NodeProto` as a field of a graph.
pub(in crate::onnx) fn node(domain: &str, kind: &str, attributes: &[Bytes]) -> Bytes {
    let attributes: Bytes = attributes.iter().flat_map(|attribute| field(5, attribute)).collect();
    field(1, [field(1, "context"), field(2, "quantiles"), field(4, kind), field(7, domain), attributes].concat())
}

/// `TensorProto` of `f32`.
pub(in crate::onnx) fn tensor(name: &str, dims: &[u64], rest: &[Bytes]) -> Bytes {
    let dims: Bytes = dims.iter().flat_map(|size| int(1, *size)).collect();
    [dims, int(2, 1), field(8, name), rest.concat()].concat()
}

/// An entry of `external_data`.
pub(in crate::onnx) fn external(key: &str, value: &str) -> Bytes {
    field(13, entry(key, value))
}

/// `StringStringEntryProto`
pub(in crate::onnx) fn entry(key: &str, value: &str) -> Bytes {
    [field(1, key), field(2, value)].concat()
}

/// `ValueInfoProto` of an `f32` tensor; a dimension of 0 is open.
pub(in crate::onnx) fn port(name: &str, dims: &[u64]) -> Bytes {
    let dimension = |size: &u64| field(1, if *size == 0 { field(2, "batch") } else { int(1, *size) });
    let shape: Bytes = dims.iter().flat_map(dimension).collect();
    [field(1, name), field(2, field(1, [int(1, 1), field(2, shape)].concat()))].concat()
}

/// Fields of a graph, between its input and its output.
pub(in crate::onnx) fn model(graph: &[Bytes]) -> Bytes {
    let ports = [field(11, port("context", &[0, 512])), field(12, port("quantiles", &[0, 3, 64]))].concat();
    let metadata = field(14, entry("openanomaly.family", "bolt"));
    [int(1, 8), field(2, "test"), field(8, int(2, 18)), field(7, [graph.concat(), ports].concat()), metadata].concat()
}

/// A good model with `values` weights of `seed`.
pub(in crate::onnx) fn good(values: usize, seed: u8) -> Bytes {
    let weights = tensor("weights", &[values as u64], &[field(9, vec![seed; 4 * values])]);
    model(&[node("", "Identity", &[]), field(5, weights)])
}
