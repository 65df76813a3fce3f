//! A walk through a model's messages that holds to limits at every step.

use std::collections::BTreeSet;

use prost::Message;

use super::element::Element;
use super::operators;
use super::proto::{Entry, OperatorSet, ValueInfo};
use super::wire::{Value, Wire};
use super::{Dimension, External, Fault, Inspection, Limits, Port, is_plain_name};

/// The most bytes of a name, of a description of an input, and of a metadata entry.
const NAME_BYTES: u64 = 4 << 10;
const PORT_BYTES: u64 = 64 << 10;
const ENTRY_BYTES: u64 = 256 << 10;

/// The most inputs, outputs, operator sets and metadata entries, of each.
const MOST_ENTRIES: usize = 256;

/// The most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 16;

/// `TensorProto.DataLocation.EXTERNAL`
const EXTERNAL: u64 = 1;

pub(super) struct Walk<'a> {
    wire: Wire,
    limits: &'a Limits,
    found: Inspection,
    /// Names of the top graph's weights: old graphs name them among their inputs too.
    weights: BTreeSet<String>,
    tensors: u64,
    /// Bytes of weights. All the rest is structure, which takes a program many times its bytes to hold.
    payload: u64,
}

/// What a tensor says of itself.
#[derive(Default)]
struct Tensor {
    name: String,
    dims: Vec<u64>,
    element: i32,
    raw: Option<u64>,
    /// The most values that the other fields can hold.
    values: u64,
    /// Whether its data stand in another file.
    away: bool,
    location: Option<String>,
    offset: u64,
    length: Option<u64>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(wire: Wire, bytes: u64, limits: &'a Limits) -> Self {
        let found = Inspection { bytes, ..Inspection::default() };
        Self { wire, limits, found, weights: BTreeSet::new(), tensors: 0, payload: 0 }
    }

    /// `ModelProto`
    pub(super) fn model(mut self) -> Result<Inspection, Fault> {
        let end = self.found.bytes;
        let mut graphs = 0;
        while let Some(field) = self.wire.next(end)? {
            match (field.number, field.value) {
                (1, Value::Varint(version)) => self.found.ir_version = version,
                (2, Value::Bytes(length)) => self.found.producer = self.text(length)?,
                (7, Value::Bytes(length)) => {
                    graphs += 1;
                    self.graph(self.wire.end(length), 0)?;
                }
                (8, Value::Bytes(length)) => {
                    let set: OperatorSet = self.message(length, "bytes of an operator set", NAME_BYTES)?;
                    push(&mut self.found.operator_sets, (set.domain, set.version), "operator sets")?;
                }
                (14, Value::Bytes(length)) => {
                    let entry: Entry = self.message(length, "bytes of a metadata entry", ENTRY_BYTES)?;
                    push(&mut self.found.metadata, (entry.key, entry.value), "metadata entries")?;
                }
                (20, Value::Bytes(_)) => return Err(Fault::Unsupported { what: "a graph for training" }),
                (25, Value::Bytes(_)) => return Err(Fault::Unsupported { what: "functions of its own" }),
                (_, value) => self.wire.skip(value)?,
            }
        }
        if graphs == 0 || self.found.nodes == 0 {
            return Err(Fault::NotOnnx { looks: "something without a graph" });
        }
        let weights = std::mem::take(&mut self.weights);
        self.found.inputs.retain(|port| !weights.contains(&port.name));
        self.structure().map(|()| self.found)
    }

    /// Whether what was read so far is within the limit of what is not weights.
    fn structure(&self) -> Result<(), Fault> {
        let bytes = self.wire.end(0).saturating_sub(self.payload);
        at_most("bytes beside weights", bytes, self.limits.structure_bytes)
    }

    /// `GraphProto`
    fn graph(&mut self, end: u64, depth: u64) -> Result<(), Fault> {
        at_most("levels of graphs in graphs", depth, self.limits.depth)?;
        while let Some(field) = self.wire.next(end)? {
            match (field.number, field.value) {
                (1, Value::Bytes(length)) => self.node(self.wire.end(length), depth)?,
                (5, Value::Bytes(length)) => {
                    let name = self.tensor(self.wire.end(length))?;
                    if depth == 0 {
                        self.weights.insert(name);
                    }
                }
                (11, Value::Bytes(length)) if depth == 0 => {
                    let port = self.port(length)?;
                    // Old graphs have their weights here as well.
                    at_most("inputs", self.found.inputs.len() as u64, self.limits.tensors)?;
                    self.found.inputs.push(port);
                }
                (12, Value::Bytes(length)) if depth == 0 => {
                    let port = self.port(length)?;
                    push(&mut self.found.outputs, port, "outputs")?;
                }
                (15, Value::Bytes(_)) => return Err(Fault::Unsupported { what: "sparse tensors" }),
                (_, value) => self.wire.skip(value)?,
            }
        }
        Ok(())
    }

    /// `NodeProto`
    fn node(&mut self, end: u64, depth: u64) -> Result<(), Fault> {
        self.structure()?;
        self.found.nodes += 1;
        at_most("operators", self.found.nodes, self.limits.nodes)?;
        let (mut domain, mut kind) = (String::new(), String::new());
        while let Some(field) = self.wire.next(end)? {
            match (field.number, field.value) {
                (4, Value::Bytes(length)) => kind = self.text(length)?,
                (5, Value::Bytes(length)) => self.attribute(self.wire.end(length), depth)?,
                (7, Value::Bytes(length)) => domain = self.text(length)?,
                (_, value) => self.wire.skip(value)?,
            }
        }
        let name = operators::check(&domain, &kind)?;
        *self.found.operators.entry(name).or_default() += 1;
        Ok(())
    }

    /// `AttributeProto`
    fn attribute(&mut self, end: u64, depth: u64) -> Result<(), Fault> {
        while let Some(field) = self.wire.next(end)? {
            match (field.number, field.value) {
                (5 | 10, Value::Bytes(length)) => drop(self.tensor(self.wire.end(length))?),
                (6 | 11, Value::Bytes(length)) => self.graph(self.wire.end(length), depth + 1)?,
                (22 | 23, Value::Bytes(_)) => return Err(Fault::Unsupported { what: "sparse tensors" }),
                (_, value) => self.wire.skip(value)?,
            }
        }
        Ok(())
    }

    /// `TensorProto`; answers its name.
    fn tensor(&mut self, end: u64) -> Result<String, Fault> {
        self.structure()?;
        self.tensors += 1;
        at_most("tensors", self.tensors, self.limits.tensors)?;
        let mut tensor = Tensor::default();
        while let Some(field) = self.wire.next(end)? {
            self.tensor_field(&mut tensor, field.number, field.value)?;
        }
        let (elements, bytes) = tensor.check(self.limits.file_bytes)?;
        self.found.parameters = self.found.parameters.saturating_add(elements);
        if let Some(location) = tensor.location {
            self.external(External { location, bytes: tensor.offset.saturating_add(bytes) })?;
        }
        Ok(tensor.name)
    }

    fn tensor_field(&mut self, tensor: &mut Tensor, number: u32, value: Value) -> Result<(), Fault> {
        match (number, value) {
            (1, Value::Varint(size)) => push_dimension(&mut tensor.dims, size)?,
            (1, Value::Bytes(length)) => {
                let end = self.wire.end(length);
                while self.wire.end(0) < end {
                    push_dimension(&mut tensor.dims, self.wire.varint(end)?)?;
                }
            }
            (2, Value::Varint(element)) => tensor.element = i32::try_from(element).unwrap_or(-1),
            // float_data and double_data, int32_data, int64_data and uint64_data, not packed; string_data.
            (4 | 10, Value::Fixed) | (5 | 7 | 11, Value::Varint(_)) => tensor.values += 1,
            (6, Value::Bytes(length)) => {
                tensor.values += 1;
                self.weigh(length)?;
            }
            (4 | 5 | 7 | 10 | 11, Value::Bytes(length)) => {
                let least = match number {
                    4 => 4,
                    10 => 8,
                    _ => 1,
                };
                tensor.values += length / least;
                self.weigh(length)?;
            }
            (8, Value::Bytes(length)) => tensor.name = self.text(length)?,
            (9, Value::Bytes(length)) => {
                tensor.raw = Some(length);
                self.weigh(length)?;
            }
            (13, Value::Bytes(length)) => {
                let entry = self.message(length, "bytes of an external data entry", NAME_BYTES)?;
                tensor.outside(entry)?;
            }
            // Readers cut an enum to 32 bits.
            (14, Value::Varint(place)) => tensor.away |= place & 0xffff_ffff == EXTERNAL,
            (_, value) => self.wire.skip(value)?,
        }
        Ok(())
    }

    fn weigh(&mut self, length: u64) -> Result<(), Fault> {
        self.payload += length;
        self.wire.skip(Value::Bytes(length))
    }

    /// Remembers a file of weights, once, with the most that is read of it.
    fn external(&mut self, external: External) -> Result<(), Fault> {
        match self.found.external.iter_mut().find(|known| known.location == external.location) {
            Some(known) => known.bytes = known.bytes.max(external.bytes),
            None => push(&mut self.found.external, external, "files of weights")?,
        }
        Ok(())
    }

    fn port(&mut self, length: u64) -> Result<Port, Fault> {
        let info: ValueInfo = self.message(length, "bytes of an input or output", PORT_BYTES)?;
        let tensor = info.kind.and_then(|kind| kind.tensor).ok_or_else(|| Fault::Port { name: info.name.clone() })?;
        let dims = tensor.shape.map(|shape| shape.dims).unwrap_or_default();
        at_most("dimensions", dims.len() as u64, MOST_DIMENSIONS as u64)?;
        let dimension = |dim: super::proto::Dimension| match (dim.value, dim.name) {
            (Some(size), _) if size >= 0 => Dimension::Fixed(size.unsigned_abs()),
            (_, name) => Dimension::Open(name.unwrap_or_default()),
        };
        let element = Element::of(tensor.element).map_or_else(|| format!("type {}", tensor.element), |e| e.name.into());
        Ok(Port { name: info.name, element, shape: dims.into_iter().map(dimension).collect() })
    }

    fn text(&mut self, length: u64) -> Result<String, Fault> {
        let at = self.wire.end(0);
        String::from_utf8(self.wire.bytes(length, "bytes of a name", NAME_BYTES)?).map_err(|_| Fault::Broken { at })
    }

    fn message<M: Message + Default>(&mut self, length: u64, what: &'static str, most: u64) -> Result<M, Fault> {
        let at = self.wire.end(0);
        let bytes = self.wire.bytes(length, what, most)?;
        M::decode(bytes.as_slice()).map_err(|_| Fault::Broken { at })
    }
}

impl Tensor {
    /// An entry of `external_data`. One is enough for the tensor to count as external, whatever else it says.
    fn outside(&mut self, entry: Entry) -> Result<(), Fault> {
        let number = |text: &str| text.parse().map_err(|_| Fault::External { location: text.into(), why: "no number" });
        self.away = true;
        match entry.key.as_str() {
            "location" => {
                check_location(&entry.value)?;
                if self.location.as_ref().is_some_and(|known| *known != entry.value) {
                    return Err(Fault::External { location: entry.value, why: "a second place for the same weights" });
                }
                self.location = Some(entry.value);
            }
            "offset" => self.offset = number(&entry.value)?,
            "length" => self.length = Some(number(&entry.value)?),
            _ => {}
        }
        Ok(())
    }

    /// Answers how many values it has, and how many bytes they take.
    fn check(&self, most_bytes: u64) -> Result<(u64, u64), Fault> {
        let fault = |why: String| Fault::Tensor { name: self.name.clone(), why };
        let element =
            Element::of(self.element).ok_or_else(|| fault(format!("its type {} is unknown", self.element)))?;
        let elements = self.dims.iter().try_fold(1_u64, |all, size| all.checked_mul(*size));
        let bytes = elements.and_then(|elements| element.bytes(elements)).filter(|bytes| *bytes <= most_bytes);
        let (Some(elements), Some(bytes)) = (elements, bytes) else {
            return Err(fault(format!("its shape {:?} is too large", self.dims)));
        };
        match (self.away, self.raw) {
            (true, _) if self.location.is_none() => Err(fault("its weights are nowhere".into())),
            (true, _) if self.length.is_some_and(|length| length != bytes) => {
                Err(fault(format!("its shape {:?} is not that of its external weights", self.dims)))
            }
            (false, Some(raw)) if raw != bytes => {
                Err(fault(format!("its shape {:?} takes {bytes} bytes, and it has {raw}", self.dims)))
            }
            (false, None) if element.packed(elements) > self.values => {
                Err(fault(format!("its shape {:?} takes more values than it has", self.dims)))
            }
            _ => Ok((elements, bytes)),
        }
    }
}

/// Weights lie beside their graph: a plain name of a file, no path. So is refused what ONNX Runtime takes for an address in
/// memory, too.
fn check_location(location: &str) -> Result<(), Fault> {
    let lower = location.to_ascii_lowercase();
    // Those are a graph and its manifest, never weights.
    let taken = [".onnx", ".json"].iter().any(|ending| lower.ends_with(ending));
    match is_plain_name(location) && !taken {
        true => Ok(()),
        false => Err(Fault::External { location: location.into(), why: "only a plain file name is allowed" }),
    }
}

fn push_dimension(dims: &mut Vec<u64>, size: u64) -> Result<(), Fault> {
    at_most("dimensions", dims.len() as u64 + 1, MOST_DIMENSIONS as u64)?;
    dims.push(size);
    Ok(())
}

fn push<T>(list: &mut Vec<T>, item: T, what: &'static str) -> Result<(), Fault> {
    at_most(what, list.len() as u64 + 1, MOST_ENTRIES as u64)?;
    list.push(item);
    Ok(())
}

fn at_most(what: &'static str, found: u64, most: u64) -> Result<(), Fault> {
    if found <= most { Ok(()) } else { Err(Fault::Limit { what, found, most }) }
}
