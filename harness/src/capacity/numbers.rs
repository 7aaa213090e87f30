//! Types of numbers: how many bits a weight or a value of the KV cache takes, by vLLM's own words.

use std::str::FromStr;

/// How the matrices of layers are stored; embeddings, norms, routers and vision towers keep the model's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantization {
    /// Method.
    pub method: Method,
    /// Bits of a weight with its share of scales and zero points.
    pub bits: f64,
}

/// Methods of quantization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// 4-bit, AWQ.
    Awq,
    /// GPTQ.
    Gptq,
    /// 8-bit floats.
    Fp8,
    /// 8-bit integers for weights and activations (compressed-tensors).
    W8a8,
    /// bitsandbytes, 4-bit.
    BitsAndBytes,
}

/// Bits of a scale and of a zero point that each group of weights has.
const SCALE_BITS: f64 = 16.0;
/// Usual weights of a group.
const USUAL_GROUP: f64 = 128.0;

impl Method {
    /// Every method.
    pub const ALL: [Self; 5] = [Self::Awq, Self::Gptq, Self::Fp8, Self::W8a8, Self::BitsAndBytes];

    /// The word on command lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awq => "awq",
            Self::Gptq => "gptq",
            Self::Fp8 => "fp8",
            Self::W8a8 => "w8a8",
            Self::BitsAndBytes => "bitsandbytes",
        }
    }

    /// The quantization with so many bits a weight, in groups of so many; absent: the method's usual ones.
    pub fn with(self, bits: Option<u64>, group: Option<u64>) -> Quantization {
        let bits = bits.map(|bits| bits.clamp(1, 32) as f64);
        let group = group.map_or(USUAL_GROUP, |group| group.max(1) as f64);
        let bits = match self {
            Self::Awq | Self::Gptq => {
                let bits = bits.unwrap_or(4.0);
                bits + (SCALE_BITS + bits) / group
            }
            Self::Fp8 | Self::W8a8 => 8.0,
            // A 32-bit maximum for each block of 64.
            Self::BitsAndBytes => 4.5,
        };
        Quantization { method: self, bits }
    }
}

impl FromStr for Method {
    type Err = String;

    /// vLLM's words and those of `quantization_config.quant_method`.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word.to_ascii_lowercase().replace('-', "_").as_str() {
            "awq" | "awq_marlin" => Ok(Self::Awq),
            "gptq" | "gptq_marlin" => Ok(Self::Gptq),
            "fp8" => Ok(Self::Fp8),
            "w8a8" | "int8" | "compressed_tensors" => Ok(Self::W8a8),
            "bitsandbytes" | "bnb" => Ok(Self::BitsAndBytes),
            _ => {
                let known = Self::ALL.map(Self::as_str).join(", ");
                Err(format!("`{word}` is not one of {known}"))
            }
        }
    }
}

/// Type of the KV cache, as vLLM's `--kv-cache-dtype` takes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvType {
    /// The model's own type.
    #[default]
    Auto,
    /// 8-bit floats, of either kind.
    Fp8,
    /// A 16-bit type.
    Half,
    /// IEEE single.
    Single,
}

impl KvType {
    /// Bytes of a value, where the model's own take `model_bytes`.
    pub const fn bytes(self, model_bytes: u64) -> u64 {
        match self {
            Self::Auto => model_bytes,
            Self::Fp8 => 1,
            Self::Half => 2,
            Self::Single => 4,
        }
    }
}

impl FromStr for KvType {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "auto" => Ok(Self::Auto),
            "fp8" | "fp8_e4m3" | "fp8_e5m2" | "fp8_inc" => Ok(Self::Fp8),
            "bfloat16" | "float16" => Ok(Self::Half),
            "float32" => Ok(Self::Single),
            _ => Err(format!(
                "`{word}` is not one of auto, fp8, fp8_e4m3, fp8_e5m2, bfloat16, float16, float32"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_and_zero_points_count() {
        assert_eq!(Method::Awq.with(None, None).bits, 4.156_25);
        assert_eq!(Method::Gptq.with(Some(8), Some(128)).bits, 8.187_5);
        assert_eq!(Method::Fp8.with(Some(4), None).bits, 8.0);
        assert!(Method::Gptq.with(Some(u64::MAX), Some(0)).bits.is_finite());
    }

    #[test]
    fn the_words_are_vllms() {
        assert_eq!("gptq_marlin".parse(), Ok(Method::Gptq));
        assert_eq!("compressed-tensors".parse(), Ok(Method::W8a8));
        assert_eq!(
            "fp4".parse::<Method>().unwrap_err(),
            "`fp4` is not one of awq, gptq, fp8, w8a8, bitsandbytes"
        );
        assert_eq!("fp8_e5m2".parse(), Ok(KvType::Fp8));
        assert!("int4".parse::<KvType>().is_err());
        assert_eq!((KvType::Auto.bytes(4), KvType::Half.bytes(4)), (4, 2));
    }
}
