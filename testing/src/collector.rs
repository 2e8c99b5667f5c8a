//! A minimal trace collector: it accepts OTLP over HTTP and stores the spans that processes export.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderMap},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Maximum time that a test waits for spans.
const PATIENCE: Duration = Duration::from_mins(1);

/// A span as it was exported.
#[derive(Debug, Clone)]
pub struct CollectedSpan {
    /// Its name.
    pub name: String,
    /// Its OTLP kind: 2 is a server, 3 a client, 4 a producer, 5 a consumer.
    pub kind: i32,
    /// The id of its trace, in hexadecimal like all ids.
    pub trace_id: String,
    /// Its own id.
    pub span_id: String,
    /// Its parent's id; empty if it has none.
    pub parent_id: String,
    /// Trace id and span id of each link.
    pub links: Vec<(String, String)>,
    /// Its attributes, as text.
    pub attributes: HashMap<String, String>,
    /// The attributes of the process.
    pub resource: HashMap<String, String>,
    /// True if its status is an error.
    pub failed: bool,
    /// All of the span, as text.
    pub text: String,
}

impl CollectedSpan {
    /// The value of an attribute; empty if the span does not have it.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// The name of the process that exported it.
    #[must_use]
    pub fn service(&self) -> &str {
        self.resource.get("service.name").map_or("", String::as_str)
    }
}

/// A collector that listens on this machine.
pub struct Collector {
    /// The URL at which it listens.
    pub url: String,
    spans: watch::Receiver<Vec<CollectedSpan>>,
    headers: watch::Receiver<HeaderMap>,
}

impl Collector {
    /// Starts a collector.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("the port is known");
        let (spans, collected) = watch::channel(Vec::new());
        let (headers, last_headers) = watch::channel(HeaderMap::new());
        let (spans, headers) = (Arc::new(spans), Arc::new(headers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&spans), Arc::clone(&headers)));
            }
        });
        Self {
            url: format!("http://{address}"),
            spans: collected,
            headers: last_headers,
        }
    }

    /// Waits until the spans meet the condition, and returns all of them.
    ///
    /// # Panics
    /// They do not meet it within a minute.
    pub async fn wait_for(&self, wanted: impl Fn(&[CollectedSpan]) -> bool) -> Vec<CollectedSpan> {
        let mut spans = self.spans.clone();
        let started = Instant::now();
        let found = tokio::time::timeout(PATIENCE, spans.wait_for(|spans| wanted(spans))).await;
        if let Ok(Ok(spans)) = found {
            return spans.clone();
        }
        panic!(
            "after {:?} the spans do not meet the condition: {:#?}",
            started.elapsed(),
            self.spans()
        );
    }

    /// All spans received so far.
    #[must_use]
    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.spans.borrow().clone()
    }

    /// The headers of the last request.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        self.headers.borrow().clone()
    }
}

async fn serve(
    stream: TcpStream,
    spans: Arc<watch::Sender<Vec<CollectedSpan>>>,
    headers: Arc<watch::Sender<HeaderMap>>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (spans, headers) = (Arc::clone(&spans), Arc::clone(&headers));
        async move { Ok::<_, Infallible>(take(request, &spans, &headers).await) }
    });
    // A process that is killed breaks its connection.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn take(
    request: Request<Incoming>,
    spans: &watch::Sender<Vec<CollectedSpan>>,
    headers: &watch::Sender<HeaderMap>,
) -> Response<Full<Bytes>> {
    assert_eq!(request.uri().path(), "/v1/traces");
    assert_eq!(request.headers()[CONTENT_TYPE], "application/x-protobuf");
    headers.send_replace(request.headers().clone());
    let body = request.into_body().collect().await;
    let body = body.expect("the request has a body").to_bytes();
    let export = ExportTraceServiceRequest::decode(body).expect("the body is an export of traces");
    let collected = export.resource_spans.into_iter().flat_map(|of_resource| {
        let resource = of_resource.resource.unwrap_or_default();
        let resource = texts(resource.attributes);
        let scopes = of_resource.scope_spans.into_iter();
        let spans = scopes.flat_map(|scope| scope.spans);
        spans.map(move |span| collect(span, &resource))
    });
    let collected: Vec<_> = collected.collect();
    spans.send_modify(|spans| spans.extend(collected));
    Response::new(Full::default())
}

fn collect(span: Span, resource: &HashMap<String, String>) -> CollectedSpan {
    CollectedSpan {
        text: format!("{span:?}"),
        kind: span.kind,
        trace_id: hexadecimal(&span.trace_id),
        span_id: hexadecimal(&span.span_id),
        parent_id: hexadecimal(&span.parent_span_id),
        links: span
            .links
            .iter()
            .map(|link| (hexadecimal(&link.trace_id), hexadecimal(&link.span_id)))
            .collect(),
        resource: resource.clone(),
        failed: span.status.is_some_and(|status| status.code == 2),
        attributes: texts(span.attributes),
        name: span.name,
    }
}

fn texts(attributes: Vec<KeyValue>) -> HashMap<String, String> {
    let texts = attributes.into_iter().map(|pair| {
        let text = match pair.value {
            Some(AnyValue {
                value: Some(any_value::Value::StringValue(text)),
            }) => text,
            Some(AnyValue {
                value: Some(any_value::Value::IntValue(number)),
            }) => number.to_string(),
            other => format!("{other:?}"),
        };
        (pair.key, text)
    });
    texts.collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
