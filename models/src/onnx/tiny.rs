//! Graphs of a few nodes, written down as ONNX files, for tests: each answers the last value of a context plus offsets.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<Opset>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Opset {
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(int64, repeated, tag = "7")]
    int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Message)]
struct Kind {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorKind>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorKind {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    dim_param: Option<String>,
}

const F32: i32 = 1;
const I64: i32 = 7;

/// What a graph is like.
#[derive(Clone)]
pub(crate) struct Tiny {
    /// `[batch, time]` of the input; 0 leaves a dimension open.
    pub(crate) input: [i64; 2],
    /// What is added to the last value: `[quantile][step ahead]`, or the other way round with `turned`.
    pub(crate) offsets: Vec<Vec<f32>>,
    /// Whether the output is `[batch, step ahead, quantile]`.
    pub(crate) turned: bool,
    /// The metadata, without `openanomaly.` before the keys.
    pub(crate) facts: Vec<(&'static str, &'static str)>,
    /// How many rows a run must have: with any other, it fails. -1 takes any.
    pub(crate) rows: i64,
}

impl Tiny {
    /// A graph by the contract, with quantiles at 10%, 50% and 90% and two steps a run.
    pub(crate) fn new() -> Self {
        Self {
            input: [0, 0],
            offsets: vec![vec![-1.0, -2.0], vec![0.0, 0.0], vec![1.0, 2.0]],
            turned: false,
            facts: vec![
                ("contract", "1"),
                ("family", "nano"),
                ("quantiles", "0.1,0.5,0.9"),
                ("patch", "4"),
                ("context_max", "64"),
            ],
            rows: -1,
        }
    }

    /// The ONNX file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let (a, b) = (self.offsets.len(), self.offsets[0].len());
        let (outer, inner) = if self.turned { (b, a) } else { (a, b) };
        let offset = |i: usize, j: usize| if self.turned { self.offsets[j][i] } else { self.offsets[i][j] };
        let offsets = (0..outer).flat_map(|i| (0..inner).map(move |j| offset(i, j))).collect();
        let shape = [self.input[0], outer as i64, inner as i64];
        let graph = GraphProto {
            name: "tiny".to_owned(),
            node: vec![
                node(
                    "Gather",
                    &["context", "last"],
                    "value",
                    vec![Attribute { name: "axis".to_owned(), i: 1, kind: 2 }],
                ),
                node("Reshape", &["value", "shape"], "values", vec![]),
                node("Add", &["values", "offsets"], "quantiles", vec![]),
            ],
            initializer: vec![
                Tensor { name: "last".to_owned(), data_type: I64, int64_data: vec![-1], ..Tensor::default() },
                Tensor {
                    name: "shape".to_owned(),
                    data_type: I64,
                    dims: vec![3],
                    int64_data: vec![self.rows, 1, 1],
                    float_data: vec![],
                },
                Tensor {
                    name: "offsets".to_owned(),
                    data_type: F32,
                    dims: vec![1, shape[1], shape[2]],
                    float_data: offsets,
                    int64_data: vec![],
                },
            ],
            input: vec![value("context", &self.input)],
            output: vec![value("quantiles", &shape)],
        };
        let fact =
            |(key, value): &(&str, &str)| Entry { key: format!("openanomaly.{key}"), value: (*value).to_owned() };
        let metadata_props = self.facts.iter().map(fact).collect();
        Model { ir_version: 8, graph: Some(graph), opset_import: vec![Opset { version: 18 }], metadata_props }
            .encode_to_vec()
    }
}

fn node(op_type: &str, input: &[&str], output: &str, attribute: Vec<Attribute>) -> Node {
    let input = input.iter().map(|name| (*name).to_owned()).collect();
    Node { input, output: vec![output.to_owned()], op_type: op_type.to_owned(), attribute }
}

fn value(name: &str, shape: &[i64]) -> ValueInfo {
    let open = |at: usize| Some(format!("{name}_{at}"));
    let dimension = |(at, size): (usize, &i64)| Dimension {
        dim_value: Some(*size).filter(|size| *size > 0),
        dim_param: open(at).filter(|_| *size == 0),
    };
    let shape = Shape { dim: shape.iter().enumerate().map(dimension).collect() };
    let kind = Kind { tensor_type: Some(TensorKind { elem_type: F32, shape: Some(shape) }) };
    ValueInfo { name: name.to_owned(), kind: Some(kind) }
}
