//! The methods that are served, and the metrics that each has.

use std::{collections::HashMap, sync::Arc};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use super::metrics::{Histograms, Label, Labels, OTHER, add, histograms};
use crate::proto::DESCRIPTORS;

/// Reflection, whose descriptors are tonic's own.
const REFLECTION: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// The codes by their number, as grpc-go writes them, and as the RPC conventions of OpenTelemetry do.
const CODES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// The upper buckets of whole calls, which may last minutes.
const CALL_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// The methods by their paths.
#[derive(Debug)]
pub(super) struct Methods {
    by_path: HashMap<String, Arc<Method>>,
    /// Of all paths that are not served, since a path is the caller's text.
    other: Arc<Method>,
}

/// A method, with what go-grpc-middleware counts of it.
#[derive(Debug)]
pub(crate) struct Method {
    /// `package.Service/Method`.
    pub(super) name: String,
    labels: Labels<3>,
    started: Counter,
    handled: Family<Labels<4>, Counter>,
    handling: Histogram,
}

impl Methods {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let started = add(
            registry,
            "grpc_server_started",
            "Calls begun.",
            Family::default(),
        );
        let handled = add(
            registry,
            "grpc_server_handled",
            "Calls ended, by status.",
            Family::default(),
        );
        let name = "grpc_server_handling_seconds";
        let handling = add(registry, name, "Time of a call.", histograms(&CALL_BUCKETS));
        let families: (Family<Labels<3>, Counter>, _, Histograms<3>) = (started, handled, handling);
        let method =
            |kind, service: &str, method: &str| Method::new(&families, kind, service, method);
        let mut by_path = HashMap::new();
        let mut serve =
            |method: Method| by_path.insert(format!("/{}", method.name), Arc::new(method));
        for file in &DESCRIPTORS.file {
            for service in &file.service {
                let full = format!("{}.{}", file.package(), service.name());
                for it in &service.method {
                    let kind = if it.server_streaming() {
                        "server_stream"
                    } else {
                        "unary"
                    };
                    serve(method(kind, &full, it.name()));
                }
            }
        }
        for service in REFLECTION {
            serve(method("bidi_stream", service, "ServerReflectionInfo"));
        }
        let other = Arc::new(method(OTHER, OTHER, OTHER));
        Self { by_path, other }
    }

    pub(super) fn of(&self, path: &str) -> Arc<Method> {
        Arc::clone(self.by_path.get(path).unwrap_or(&self.other))
    }
}

impl Method {
    fn new(
        families: &(
            Family<Labels<3>, Counter>,
            Family<Labels<4>, Counter>,
            Histograms<3>,
        ),
        kind: &'static str,
        service: &str,
        method: &str,
    ) -> Self {
        let (started, handled, handling) = families;
        let owned = |text: &str| Label::Owned(text.to_owned());
        let labels = [
            ("grpc_type", kind.into()),
            ("grpc_service", owned(service)),
            ("grpc_method", owned(method)),
        ];
        Self {
            name: format!("{service}/{method}"),
            started: started.get_or_create_owned(&labels),
            handled: handled.clone(),
            handling: handling.get_or_create_owned(&labels),
            labels,
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.labels[0].1 != OTHER
    }

    pub(super) fn start(&self) {
        self.started.inc();
    }

    /// A call has ended with the code of that number.
    pub(super) fn end(&self, code: i32, seconds: f64) {
        let [kind, service, method] = self.labels.clone();
        let code = ("grpc_code", code_names(code).0.into());
        let labels = [kind, service, method, code];
        self.handled.get_or_create(&labels).inc();
        self.handling.observe(seconds);
    }
}

/// The names of a code; a number that is none is UNKNOWN, as for gRPC.
pub(super) fn code_names(code: i32) -> (&'static str, &'static str) {
    let known = usize::try_from(code).ok().and_then(|code| CODES.get(code));
    *known.unwrap_or(&CODES[2])
}
