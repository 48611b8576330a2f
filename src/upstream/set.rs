//! All upstreams, and which of them a call goes to.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
};

use arc_swap::ArcSwap;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use url::Url;

use super::{
    chosen::Chosen,
    client::{INQUIRY_TIMEOUT, SetupError},
    group::{FOREIGN, Group},
    wanted::{Unroutable, Wanted, foreign_url},
};
use crate::{
    access::Access,
    config::{self, Config, NamedUpstream},
    openai::named::Named,
    telemetry::{Label, Metrics},
};

/// Most upstreams of callers whose connections are kept.
const MAX_FOREIGN: usize = 64;

/// The name of the upstream that `--upstream` gives.
const ONLY: &str = "vllm";

/// All upstreams. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Upstreams(pub(super) Arc<State>);

#[derive(Debug)]
pub(super) struct State {
    pub(super) table: ArcSwap<Table>,
    pub(super) common: config::Upstream,
    pub(super) limits: config::Limits,
    pub(super) source: Option<config::Source>,
    pub(super) access: Arc<Access>,
    pub(super) metrics: Arc<Metrics>,
    /// The file's settings that need a restart, as they were at the start.
    pub(super) fixed: [Option<String>; 2],
    /// Of the origins that callers chose; the one that was added last comes last.
    foreign: Mutex<VecDeque<(Url, Arc<Group>)>>,
    pub(super) readiness: watch::Sender<Readiness>,
}

/// `upstream`, and `upstream/NAME` for each, with whether it has a replica that answers.
pub(crate) type Readiness = std::collections::BTreeMap<String, bool>;

/// What one reading of the configuration gives.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) groups: Vec<Arc<Group>>,
    origins: BTreeSet<String>,
    pub(super) fingerprint: u64,
}

impl Table {
    /// Groups whose part of the configuration is as before are kept, with what is known of their replicas.
    pub(super) fn new(
        upstreams: config::Upstreams,
        before: &[Arc<Group>],
        common: &config::Upstream,
        limits: config::Limits,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, SetupError> {
        let group = |config: NamedUpstream| {
            let is_same = |it: &&Arc<Group>| {
                it.config.name == config.name && it.config.fingerprint == config.fingerprint
            };
            match before.iter().find(is_same) {
                Some(same) => Ok(Arc::clone(same)),
                None => Group::new(config, common, limits, metrics).map(Arc::new),
            }
        };
        let groups = upstreams.list.into_iter().map(group);
        Ok(Self {
            groups: groups.collect::<Result<_, _>>()?,
            origins: upstreams.origins,
            fingerprint: upstreams.fingerprint,
        })
    }

    /// The group that serves the model; the only one leaves an unknown model to the upstream.
    fn serving(&self, model: &str) -> Option<&Arc<Group>> {
        match &self.groups[..] {
            [only] if only.config.models.is_empty() => Some(only),
            groups => groups.iter().find(|group| group.serves(model)),
        }
    }

    /// Every group counts as ready where none is probed.
    pub(super) fn readiness(&self, is_probed: bool) -> Readiness {
        let ready = |group: &Arc<Group>| {
            let replicas = group.replicas.load();
            !is_probed || replicas.iter().any(|replica| replica.answers.load(Relaxed))
        };
        let groups = self.groups.iter();
        let named = groups.map(|group| (format!("upstream/{}", group.config.name), ready(group)));
        let all = ("upstream".to_owned(), self.groups.iter().all(ready));
        named.chain([all]).collect()
    }
}

impl Upstreams {
    /// The configured upstreams; nothing is connected yet.
    pub(crate) fn new(config: &Config, metrics: &Arc<Metrics>) -> Result<Self, SetupError> {
        let (upstreams, source) = match &config.upstreams {
            Some((upstreams, source)) => (upstreams.clone(), Some(source.clone())),
            None => (only(&config.upstream), None),
        };
        let fixed = upstreams.fixed.clone();
        let table = Table::new(upstreams, &[], &config.upstream, config.limits, metrics)?;
        let is_probed = config.upstream.probe_interval.is_some();
        let readiness = watch::Sender::new(table.readiness(is_probed));
        Ok(Self(Arc::new(State {
            table: ArcSwap::from_pointee(table),
            common: config.upstream.clone(),
            limits: config.limits,
            source,
            access: Arc::new(Access::new(config)),
            metrics: Arc::clone(metrics),
            fixed,
            foreign: Mutex::default(),
            readiness,
        })))
    }

    /// Who may call.
    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.0.access)
    }

    pub(crate) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.0.readiness.subscribe()
    }

    /// The replica for a call, whose request gets the model's real name.
    pub(crate) async fn choose(
        &self,
        wanted: &Wanted,
        request: &mut impl Named,
    ) -> Result<Chosen, Unroutable> {
        let identity = &wanted.identity;
        let group = self.group(wanted, request.model()).await;
        let Some(model) = request.model() else {
            // What the upstream would take is not known here.
            return match identity.models() {
                Some(models) => Err(Unroutable::NoModel(models.join(", "))),
                None => self.chosen(group?, wanted),
            };
        };
        let is_permitted = match &group {
            Ok(group) => group.permits(identity, model),
            // Nor is it told which models there are.
            Err(_) => identity.may_use(|name| name == model),
        };
        let group = match is_permitted {
            true => group?,
            false => return Err(Unroutable::NotAllowed),
        };
        let label = group.label(model);
        if let Some(real) = group.config.aliases.get(model) {
            request.set_model(real);
        }
        let mut chosen = self.chosen(group, wanted)?;
        chosen.model = label;
        Ok(chosen)
    }

    /// The upstreams that a call about models asks, each by a replica.
    pub(crate) fn choose_all(&self, wanted: &Wanted) -> Result<Vec<Chosen>, Unroutable> {
        let groups = match self.named(wanted)? {
            Some(group) => vec![group],
            None => self.0.table.load().groups.clone(),
        };
        let chosen = groups.into_iter().map(|group| self.chosen(group, wanted));
        chosen.collect()
    }

    fn chosen(&self, group: Arc<Group>, wanted: &Wanted) -> Result<Chosen, Unroutable> {
        let authorization = wanted.authorization()?;
        let picked = group
            .pick(wanted.session()?)
            .ok_or(Unroutable::Overloaded)?;
        let fallback = (group.config.fallback.as_deref()).and_then(|model| {
            let group = self.0.table.load().serving(model)?.clone();
            let real = group.real(model).to_owned();
            let is_permitted = group.permits(&wanted.identity, model);
            is_permitted.then_some((group, real))
        });
        Ok(Chosen {
            group,
            picked,
            fallback,
            authorization,
            model: Label::default(),
        })
    }

    /// The group that the metadata names.
    fn named(&self, wanted: &Wanted) -> Result<Option<Arc<Group>>, Unroutable> {
        if let Some(url) = &wanted.url {
            let url = foreign_url(url.as_bytes(), &self.0.table.load().origins);
            let url = url.filter(|_| wanted.identity.may_choose_url());
            return self.foreign(url.ok_or(Unroutable::ForeignUrl)?).map(Some);
        }
        let Some(name) = &wanted.upstream else {
            return Ok(None);
        };
        let table = self.0.table.load();
        let mut groups = table.groups.iter();
        let group = groups.find(|group| group.config.name.as_bytes() == name.as_bytes());
        Ok(Some(Arc::clone(group.ok_or(Unroutable::UnknownUpstream)?)))
    }

    async fn group(&self, wanted: &Wanted, model: Option<&str>) -> Result<Arc<Group>, Unroutable> {
        if let Some(group) = self.named(wanted)? {
            return Ok(group);
        }
        if let Some(group) = self.known(model)? {
            return Ok(group);
        }
        // The model may be of an upstream that has not been asked yet.
        let table = self.0.table.load_full();
        let unasked = table.groups.iter();
        let unasked = unasked.filter(|it| it.is_unasked()).cloned();
        let mut asked: JoinSet<_> = unasked
            .map(|group| async move { group.discover().await })
            .collect();
        let all = async { while asked.join_next().await.is_some() {} };
        let _ = timeout(INQUIRY_TIMEOUT, all).await;
        match self.known(model)? {
            Some(group) => Ok(group),
            None if table.groups.iter().any(|it| it.is_unasked()) => Err(Unroutable::Unasked),
            None => Err(Unroutable::UnknownModel),
        }
    }

    fn known(&self, model: Option<&str>) -> Result<Option<Arc<Group>>, Unroutable> {
        let table = self.0.table.load();
        match (model, &table.groups[..]) {
            (Some(model), _) => Ok(table.serving(model).cloned()),
            (None, [only]) => Ok(Some(Arc::clone(only))),
            (None, groups) => {
                let names = groups.iter().flat_map(|group| group.names().into_keys());
                let names: Vec<_> = names.take(20).collect();
                Err(Unroutable::NoModel(names.join(", ")))
            }
        }
    }

    fn foreign(&self, url: Url) -> Result<Arc<Group>, Unroutable> {
        let foreign = || {
            self.0
                .foreign
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some((_, group)) = foreign().iter().find(|(known, _)| *known == url) {
            return Ok(Arc::clone(group));
        }
        let config = named(FOREIGN, url.clone(), None);
        let group = Group::new(config, &self.0.common, self.0.limits, &self.0.metrics);
        let group = Arc::new(group.map_err(|_unusable| Unroutable::ForeignUrl)?);
        let mut all = foreign();
        if all.len() >= MAX_FOREIGN {
            all.pop_front();
        }
        all.push_back((url, Arc::clone(&group)));
        Ok(group)
    }

    /// Every replica that has connections.
    pub(super) fn groups(&self) -> Vec<Arc<Group>> {
        let mut groups = self.0.table.load().groups.clone();
        let foreign = self
            .0
            .foreign
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        groups.extend(foreign.iter().map(|(_url, group)| Arc::clone(group)));
        groups
    }
}

/// The upstream of `--upstream` alone.
fn only(upstream: &config::Upstream) -> config::Upstreams {
    let key = upstream.api_key.clone();
    config::Upstreams {
        list: vec![named(ONLY, upstream.base_url.clone(), key)],
        ..config::Upstreams::default()
    }
}

fn named(name: &str, url: Url, api_key: Option<secrecy::SecretString>) -> NamedUpstream {
    NamedUpstream {
        name: name.to_owned(),
        urls: vec![url],
        models: Vec::new(),
        aliases: Default::default(),
        fallback: None,
        api_key,
        all_addresses: false,
        max_in_flight: None,
        tls: config::UpstreamTls::default(),
        fingerprint: 0,
    }
}
