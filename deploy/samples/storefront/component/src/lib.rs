//! The sample pod: a WASI HTTP component that says who and where it is, from its environment.
//!
//! `GET /` answers one line of text, `GET /json` (or `Accept: application/json`) the same as
//! JSON, `GET /healthz` `ok`; anything else is 404.
#![cfg(target_arch = "wasm32")]

use wasip2::cli::environment::get_environment;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Storefront;

wasip2::http::proxy::export!(Storefront);

impl wasip2::exports::http::incoming_handler::Guest for Storefront {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let shop = Shop::from_environment(&get_environment());
        let answer = route(&request, &shop);
        eprint(&format!("{} {}\n", answer.status, request.path_with_query().unwrap_or_default()));
        send(out, &answer);
    }
}

/// What a shop says of itself.
struct Shop {
    pod: String,
    node: String,
    region: String,
    greeting: String,
}

impl Shop {
    fn from_environment(environment: &[(String, String)]) -> Self {
        let get = |name: &str| {
            let found = environment.iter().find(|(key, _)| key == name);
            found.map_or_else(|| "unknown".to_string(), |(_, value)| value.clone())
        };
        Self {
            pod: get("POD_NAME"),
            node: get("NODE_NAME"),
            region: get("REGION"),
            greeting: get("GREETING"),
        }
    }

    fn text(&self) -> String {
        format!("{} from {} in {} on {}\n", self.greeting, self.pod, self.region, self.node)
    }

    fn json(&self) -> String {
        let pairs = [
            ("greeting", &self.greeting),
            ("pod", &self.pod),
            ("region", &self.region),
            ("node", &self.node),
        ];
        let fields: Vec<_> =
            pairs.iter().map(|(key, value)| format!("{}:{}", quote(key), quote(value))).collect();
        format!("{{{}}}\n", fields.join(","))
    }
}

struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

fn route(request: &IncomingRequest, shop: &Shop) -> Answer {
    let text = |status, body: String| Answer { status, content_type: "text/plain", body };
    if !matches!(request.method(), Method::Get | Method::Head) {
        return text(405, "only GET\n".to_string());
    }
    let target = request.path_with_query().unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let json = || Answer { status: 200, content_type: "application/json", body: shop.json() };
    match path {
        "/" | "" if wants_json(request) => json(),
        "/" | "" => text(200, shop.text()),
        "/json" => json(),
        "/healthz" => text(200, "ok".to_string()),
        _ => text(404, "not found\n".to_string()),
    }
}

fn wants_json(request: &IncomingRequest) -> bool {
    let accepted = request.headers().get("accept");
    accepted.iter().any(|value| String::from_utf8_lossy(value).contains("application/json"))
}

fn send(out: ResponseOutparam, answer: &Answer) {
    let headers = Fields::new();
    let _ = headers.set("content-type", &[answer.content_type.as_bytes().to_vec()]);
    let length = answer.body.len().to_string().into_bytes();
    let _ = headers.set("content-length", &[length]);
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(answer.status);
    let body = response.body().expect("a fresh response gives its body once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("a fresh body gives its stream once");
    // The reader may be gone already; there is nobody left to tell.
    let _ = stream.blocking_write_and_flush(answer.body.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

fn eprint(line: &str) {
    let _ = wasip2::cli::stderr::get_stderr().blocking_write_and_flush(line.as_bytes());
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control < ' ' => quoted.push_str(&format!("\\u{:04x}", control as u32)),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
