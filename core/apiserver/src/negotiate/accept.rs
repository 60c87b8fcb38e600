//! `Accept`: the first media range, by quality, that we can make.

use hansa_api::status::ApiError;
use http::HeaderMap;
use http::header::ACCEPT;

use crate::generic::entry::Form;

/// The media types we can make, for the 406 text.
const OFFERED: [&str; 2] = ["application/json", "application/yaml"];

/// What an answer looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Whole objects, tables or metadata.
    pub form: Form,
    /// Whether it is YAML rather than JSON.
    pub yaml: bool,
}

/// Reads `Accept`; without one the answer is JSON.
///
/// # Errors
/// 406 if nothing acceptable can be made.
pub fn negotiate(headers: &HeaderMap) -> Result<Accepted, ApiError> {
    let texts: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut ranges: Vec<Range<'_>> =
        texts.iter().flat_map(|text| text.split(',')).filter_map(Range::parse).collect();
    if ranges.is_empty() {
        return Ok(Accepted::default());
    }
    ranges.sort_by_key(|range| std::cmp::Reverse(range.quality));
    let mut made = ranges.iter().filter(|range| range.quality > 0).filter_map(Range::accepted);
    made.next().ok_or_else(|| ApiError::not_acceptable(&OFFERED))
}

struct Range<'a> {
    media: String,
    parameters: Vec<(&'a str, &'a str)>,
    /// Thousandths.
    quality: u32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().filter(|media| !media.is_empty())?.to_ascii_lowercase();
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let quality = parameters.iter().find(|(key, _)| *key == "q").map_or(1000, |(_, value)| {
            value.parse::<f64>().map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32)
        });
        Some(Self { media, parameters, quality })
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    fn accepted(&self) -> Option<Accepted> {
        let yaml = match self.media.as_str() {
            "application/json" | "application/*" | "*/*" => false,
            "application/yaml" => true,
            _ => return None,
        };
        Some(Accepted { form: self.form()?, yaml })
    }

    /// The transformation that `as` names; only those of meta.k8s.io/v1 are known.
    fn form(&self) -> Option<Form> {
        let form = match self.parameter("as") {
            "" => return Some(Form::Whole),
            "Table" => Form::Table,
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Form::Partial,
            _ => return None,
        };
        let known = self.parameter("g") == "meta.k8s.io" && self.parameter("v") == "v1";
        known.then_some(form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> Result<Accepted, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        negotiate(&headers)
    }

    #[test]
    fn clients_get_the_first_form_that_we_make() {
        let cases = [
            ("*/*", Form::Whole),
            ("application/vnd.kubernetes.protobuf,application/json", Form::Whole),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Form::Table),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json", Form::Whole),
            (
                "application/json;q=0.5, \
                 application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Form::Partial,
            ),
            ("application/json;stream=watch", Form::Whole),
        ];
        for (text, form) in cases {
            assert_eq!(accept(text).unwrap(), Accepted { form, yaml: false }, "{text}");
        }
        assert!(accept("application/yaml").unwrap().yaml);
    }

    #[test]
    fn what_nobody_can_make_is_not_acceptable() {
        for text in ["application/vnd.kubernetes.protobuf", "text/html", "application/json;q=0"] {
            assert_eq!(accept(text).unwrap_err().code, 406, "{text}");
        }
        assert_eq!(negotiate(&HeaderMap::new()).unwrap(), Accepted::default());
    }
}
