//! Which operators a graph may have.

use super::Fault;

/// The domains of the standard, whose operators compute and do nothing else.
const STANDARD: [&str; 3] = ["", "ai.onnx", "ai.onnx.ml"];

/// ONNX Runtime's own.
const MICROSOFT: &str = "com.microsoft";

/// Those of ONNX Runtime's own operators that quantisation and the fusing of transformers leave in a file. Others may read files
/// (`EPContext`) or call code.
const FUSED: &[&str] = &[
    "Attention",
    "BiasAdd",
    "BiasGelu",
    "BiasSoftmax",
    "BiasSplitGelu",
    "DequantizeLinear",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "EmbedLayerNormalization",
    "FastGelu",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "FusedMatMulActivation",
    "GatedRelativePositionBias",
    "Gelu",
    "GroupQueryAttention",
    "MatMulInteger16",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "MultiHeadAttention",
    "PackedAttention",
    "PackedMultiHeadAttention",
    "QAttention",
    "QEmbedLayerNormalization",
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearConv",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearReduceMean",
    "QLinearSigmoid",
    "QLinearSoftmax",
    "QLinearWhere",
    "QOrderedAttention",
    "QOrderedGelu",
    "QOrderedLayerNormalization",
    "QOrderedMatMul",
    "QuantizeLinear",
    "QuickGelu",
    "RelativePositionBias",
    "RemovePadding",
    "RestorePadding",
    "RotaryEmbedding",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "TransposeMatMul",
];

/// The operator's name for people, if it may be there.
pub(super) fn check(domain: &str, kind: &str) -> Result<String, Fault> {
    let plain = (1..=64).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match domain {
        _ if !plain => Err(Fault::Operator { domain: domain.into(), kind: kind.into() }),
        _ if STANDARD.contains(&domain) => Ok(kind.to_owned()),
        MICROSOFT if FUSED.contains(&kind) => Ok(format!("{MICROSOFT}.{kind}")),
        _ => Err(Fault::Operator { domain: domain.into(), kind: kind.into() }),
    }
}
