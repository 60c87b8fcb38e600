//! `Accept`: the first media range, by quality, that we can make.

use hansa_api::status::{ApiError, Reason};
use http::HeaderMap;
use http::header::{ACCEPT, HeaderValue, USER_AGENT};

use super::BODIES;
use crate::generic::entry::Form;
use crate::protobuf;

/// The media types of watches, for the 406 text.
const STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
/// What people use: they get indented JSON.
const HUMAN_AGENTS: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];

/// How the bytes of an answer are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Encoding {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Json, "application/json"),
        (Self::Yaml, "application/yaml"),
        (Self::Protobuf, protobuf::MEDIA_TYPE),
    ];

    /// The media type of an answer.
    pub fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(Self::ALL[self as usize].1)
    }

    /// The media type of a watch.
    pub fn stream_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => STREAMS[1],
            Self::Json | Self::Yaml => "application/json",
        })
    }

    fn matches(self, range: &str) -> bool {
        range == Self::ALL[self as usize].1 || matches!(range, "application/*" | "*/*")
    }
}

/// What can be made of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whether there are tables and bare metadata besides whole objects.
    pub forms: bool,
    /// Whether whole objects have a protobuf encoding; custom resources have none.
    pub protobuf: bool,
    /// Whether it is a collection, which can be watched.
    pub collection: bool,
}

impl Offer {
    /// Documents: whole, in any encoding.
    pub const DOCUMENT: Self = Self { forms: false, protobuf: true, collection: false };

    /// 406 in the words of upstream's router, which looks at media types alone, or of its handlers,
    /// which look at what comes behind them.
    fn refusal(self, ranges: &[Range<'_>]) -> ApiError {
        let matches =
            |(encoding, _): &(Encoding, _)| ranges.iter().any(|r| encoding.matches(&r.media));
        if !self.forms || Encoding::ALL.iter().any(matches) {
            return ApiError::not_acceptable(&BODIES);
        }
        let streams: &[&str] = if self.collection { &STREAMS } else { &[] };
        let all: Vec<&str> = BODIES.iter().chain(streams).copied().collect();
        let message =
            format!("406: Not Acceptable\n\nAvailable representations: {}", all.join(", "));
        let details = Some(Box::default());
        ApiError { details, ..ApiError::new(Reason::NotAcceptable, message) }
    }
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Whole objects, tables or metadata.
    pub form: Form,
    /// Whether tables and metadata are those of `meta.k8s.io/v1beta1`.
    pub beta: bool,
    /// The encoding.
    pub encoding: Encoding,
    /// Whether `pretty=1` stood beside the media type.
    pub pretty: bool,
}

/// Reads `Accept`; without one the answer is JSON.
///
/// # Errors
/// 406 if nothing acceptable can be made.
pub fn negotiate(headers: &HeaderMap, offer: Offer) -> Result<Accepted, ApiError> {
    let texts: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut ranges: Vec<Range<'_>> =
        texts.iter().flat_map(|text| text.split(',')).filter_map(Range::parse).collect();
    if ranges.is_empty() {
        return Ok(Accepted::default());
    }
    ranges.sort_by_key(|range| (std::cmp::Reverse(range.quality), range.vagueness()));
    let usable = ranges.iter().filter(|range| range.quality > 0);
    let mut made = usable.filter_map(|range| range.accepted(offer));
    made.next().ok_or_else(|| offer.refusal(&ranges))
}

/// 406 for an encoding that has no streams.
///
/// # Errors
/// For YAML.
pub fn check_stream(accepted: Accepted) -> Result<(), ApiError> {
    match accepted.encoding {
        Encoding::Yaml => Err(ApiError::not_acceptable(&STREAMS)),
        Encoding::Json | Encoding::Protobuf => Ok(()),
    }
}

/// Whether JSON is indented: `?pretty=` decides, and without it who asks.
pub fn is_pretty(asked: Option<bool>, headers: &HeaderMap) -> bool {
    asked.unwrap_or_else(|| {
        let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        agent.is_some_and(|agent| HUMAN_AGENTS.iter().any(|human| agent.starts_with(human)))
    })
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

    /// Exact types come before wildcards of the same quality.
    fn vagueness(&self) -> usize {
        self.media.matches('*').count()
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    fn accepted(&self, offer: Offer) -> Option<Accepted> {
        let fits = |encoding: Encoding| self.accepted_as(encoding, offer);
        Encoding::ALL.into_iter().find_map(|(encoding, _)| fits(encoding))
    }

    fn accepted_as(&self, encoding: Encoding, offer: Offer) -> Option<Accepted> {
        let form = self.form(offer)?;
        let possible = match (form, encoding) {
            (Form::Whole, Encoding::Protobuf) => offer.protobuf,
            // Tables hold cells of any type, which protobuf cannot say.
            (Form::Table, Encoding::Protobuf) => false,
            _ => true,
        };
        let streams = matches!(self.parameter("stream"), "" | "watch");
        (possible && streams && encoding.matches(&self.media)).then(|| Accepted {
            form,
            beta: form != Form::Whole && self.parameter("v") == "v1beta1",
            encoding,
            pretty: self.parameter("pretty") == "1",
        })
    }

    /// The transformation that `as` names; only those of meta.k8s.io are known.
    fn form(&self, offer: Offer) -> Option<Form> {
        let named = ["as", "g", "v"].map(|name| self.parameter(name));
        let form = match named {
            ["", "", ""] => return Some(Form::Whole),
            ["Table", "meta.k8s.io", "v1" | "v1beta1"] => Form::Table,
            [
                "PartialObjectMetadata" | "PartialObjectMetadataList",
                "meta.k8s.io",
                "v1" | "v1beta1",
            ] => Form::Partial,
            _ => return None,
        };
        offer.forms.then_some(form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offer = Offer { forms: true, protobuf: true, collection: true };
    const CUSTOM: Offer = Offer { forms: true, protobuf: false, collection: true };

    fn accept(text: &str, offer: Offer) -> Result<Accepted, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        negotiate(&headers, offer)
    }

    #[test]
    fn clients_get_the_first_form_that_we_make() {
        let proto = "application/vnd.kubernetes.protobuf";
        let partial = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let cases = [
            ("*/*".to_string(), Form::Whole, Encoding::Json),
            (format!("{proto},application/json"), Form::Whole, Encoding::Protobuf),
            (format!("*/*, {proto}"), Form::Whole, Encoding::Protobuf),
            (format!("{proto};stream=watch"), Form::Whole, Encoding::Protobuf),
            (format!("{proto};stream=x,application/json"), Form::Whole, Encoding::Json),
            (format!("{proto};{partial}"), Form::Partial, Encoding::Protobuf),
            (
                format!("application/json;q=0.5, application/yaml;{partial}"),
                Form::Partial,
                Encoding::Yaml,
            ),
            (
                format!(
                    "{proto};as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;\
                      g=meta.k8s.io"
                ),
                Form::Table,
                Encoding::Json,
            ),
        ];
        for (text, form, encoding) in cases {
            let accepted = accept(&text, ALL).unwrap();
            assert_eq!((accepted.form, accepted.encoding), (form, encoding), "{text}");
        }
        assert!(accept("application/json;as=Table;v=v1beta1;g=meta.k8s.io", ALL).unwrap().beta);
    }

    #[test]
    fn custom_resources_have_protobuf_for_their_metadata_only() {
        let proto = "application/vnd.kubernetes.protobuf";
        let metadata = format!("{proto};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
        assert_eq!(accept(&metadata, CUSTOM).unwrap().encoding, Encoding::Protobuf);
        let whole = format!("{proto},application/json");
        assert_eq!(accept(&whole, CUSTOM).unwrap().encoding, Encoding::Json);
        assert_eq!(accept(proto, CUSTOM).unwrap_err().code, 406);
    }

    #[test]
    fn what_nobody_can_make_is_not_acceptable() {
        let bodies = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        for text in ["application/cbor", "text/html"] {
            let error = accept(text, ALL).unwrap_err();
            assert_eq!(error.code, 406, "{text}");
            let streams = "application/json;stream=watch, \
                application/vnd.kubernetes.protobuf;stream=watch";
            assert_eq!(
                error.message,
                format!("406: Not Acceptable\n\nAvailable representations: {bodies}, {streams}")
            );
            let error = accept(text, Offer::DOCUMENT).unwrap_err();
            assert_eq!(
                error.message,
                format!("only the following media types are accepted: {bodies}")
            );
        }
        assert_eq!(accept("application/json;q=0", ALL).unwrap_err().code, 406);
        assert_eq!(negotiate(&HeaderMap::new(), ALL).unwrap(), Accepted::default());
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(accept(table, Offer::DOCUMENT).unwrap_err().code, 406);
        let yaml = accept("application/yaml", ALL).unwrap();
        assert!(check_stream(yaml).unwrap_err().message.contains("protobuf;stream=watch"));
    }
}
