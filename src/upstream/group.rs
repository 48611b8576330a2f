//! One upstream: the models that it serves, and its replicas.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use tokio::{net::lookup_host, time::timeout};
use url::Url;

use super::{
    balance::{self, Picked},
    budget::Budget,
    client::{Client, INQUIRY_TIMEOUT, SetupError},
    error::Error,
    replica::Replica,
};
use crate::{
    access::Identity,
    config,
    telemetry::{Label, Metrics, OTHER},
};

/// The name of an upstream whose URL a caller chose.
pub(super) const FOREIGN: &str = "caller_chosen";

/// Most replicas of one upstream.
const MAX_REPLICAS: usize = 256;

/// One upstream of the configuration, or one that a caller chose.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) config: config::NamedUpstream,
    common: config::Upstream,
    limits: config::Limits,
    pub(super) replicas: ArcSwap<Vec<Arc<Replica>>>,
    /// What it lists itself, as far as it was asked.
    pub(super) discovered: ArcSwap<Vec<String>>,
    pub(super) was_asked: AtomicBool,
    pub(super) budget: Budget,
    metrics: Arc<Metrics>,
}

impl Group {
    /// Nothing is connected yet.
    pub(super) fn new(
        config: config::NamedUpstream,
        common: &config::Upstream,
        limits: config::Limits,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, SetupError> {
        let mut common = common.clone();
        common.api_key.clone_from(&config.api_key);
        common.tls = config.tls.clone();
        let group = Self {
            config,
            common,
            limits,
            replicas: ArcSwap::default(),
            discovered: ArcSwap::default(),
            was_asked: AtomicBool::new(false),
            budget: Budget::default(),
            metrics: Arc::clone(metrics),
        };
        let urls = group.config.urls.iter();
        let replicas: Result<_, _> = urls.map(|url| group.replica(url, None)).collect();
        group.replicas.store(Arc::new(replicas?));
        Ok(group)
    }

    fn replica(&self, url: &Url, address: Option<SocketAddr>) -> Result<Arc<Replica>, SetupError> {
        let mut upstream = self.common.clone();
        upstream.base_url = url.clone();
        upstream.address = address;
        let label = match address {
            Some(address) => format!("{url} at {address}"),
            None => url.to_string(),
        };
        let upstream_name = &self.config.name;
        // A URL that a caller chose is none of the operator's names.
        let shown = if upstream_name == FOREIGN {
            FOREIGN
        } else {
            &label
        };
        let series = self.metrics.replicas.series(upstream_name, shown);
        let client = Client::new(&upstream, self.limits)?;
        let replica = Replica::new(client, label, series, self.config.max_in_flight);
        Ok(Arc::new(replica))
    }

    /// Makes a replica of each address that the hosts have, and keeps those that stay.
    pub(super) async fn resolve(&self) {
        let before = self.replicas.load_full();
        let mut replicas = Vec::new();
        for url in &self.config.urls {
            let host = url.host_str().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = url.port_or_known_default().unwrap_or_default();
            let found = timeout(INQUIRY_TIMEOUT, lookup_host((host, port))).await;
            let addresses = match found.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                Ok(addresses) => addresses,
                Err(error) => {
                    // What was known goes on: a resolver that fails must not empty an upstream.
                    tracing::warn!(%url, %error, "the addresses of an upstream cannot be had");
                    return;
                }
            };
            for address in addresses.take(MAX_REPLICAS) {
                let label = format!("{url} at {address}");
                let known = before.iter().find(|it| it.label == label).cloned();
                let replica = known.map_or_else(|| self.replica(url, Some(address)), Ok);
                replicas.extend(replica);
            }
        }
        if !replicas.is_empty() {
            self.replicas.store(Arc::new(replicas));
        }
    }

    /// A replica for a new call.
    pub(super) fn pick(&self, session: Option<&[u8]>) -> Option<Picked> {
        let replicas = self.replicas.load();
        if replicas.len() > 1 {
            self.budget.count_call();
        }
        balance::pick(&replicas, session)
    }

    /// Another replica than those that failed.
    pub(super) fn pick_other(&self, failed: &[Arc<Replica>]) -> Option<Picked> {
        balance::pick_other(&self.replicas.load(), failed)
    }

    /// Whether it is known to serve the model, by that name or an alias of it.
    pub(super) fn serves(&self, model: &str) -> bool {
        let is = |name: &String| name == model;
        self.config.aliases.contains_key(model)
            || self.config.models.iter().any(is)
            || self.config.models.is_empty() && self.discovered.load().iter().any(is)
    }

    /// What an alias stands for; other names stand for themselves.
    pub(super) fn real<'a>(&'a self, model: &'a str) -> &'a str {
        self.config.aliases.get(model).map_or(model, String::as_str)
    }

    /// Whether the caller may use the model, by whatever name.
    pub(super) fn permits(&self, identity: &Identity, model: &str) -> bool {
        identity.may_use(|name| self.real(name) == self.real(model))
    }

    /// A model as a label: by its name where that is configured or listed.
    pub(super) fn label(&self, model: &str) -> Label {
        let is_known = self.serves(model) || self.config.aliases.values().any(|it| it == model);
        match model {
            _ if is_known => Label::Owned(model.to_owned()),
            // vLLM then takes the first that it lists.
            "" => (self.discovered.load().first()).map_or(Label::default(), |it| it.clone().into()),
            _ => OTHER.into(),
        }
    }

    /// Whether its models are those that it lists, and it has not said yet which.
    pub(super) fn is_unasked(&self) -> bool {
        self.config.models.is_empty() && !self.was_asked.load(Relaxed)
    }

    /// Asks for the models that it lists, unless the configuration names them.
    pub(super) async fn discover(&self) -> Result<(), Error> {
        let mut replicas = self.replicas.load().to_vec();
        fastrand::shuffle(&mut replicas);
        replicas.sort_by_key(|it| !it.answers.load(Relaxed));
        let mut failed = Ok(());
        for replica in replicas {
            match replica.models().await {
                Ok(models) => {
                    self.discovered.store(Arc::new(models));
                    self.was_asked.store(true, Relaxed);
                    return Ok(());
                }
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    /// The names that callers may use, with the model that each stands for.
    pub(super) fn names(&self) -> BTreeMap<String, String> {
        let listed = self.discovered.load();
        let models = match self.config.models.is_empty() {
            true => listed.iter(),
            false => self.config.models.iter(),
        };
        let models = models.map(|model| (model.clone(), model.clone()));
        let aliases = self.config.aliases.clone();
        models.chain(aliases).collect()
    }
}
