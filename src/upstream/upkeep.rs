//! What runs beside the calls: probes, addresses, idle connections, and reading the configuration again.

use std::{
    convert::Infallible,
    future::pending,
    mem,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use super::{
    error::Error,
    group::Group,
    set::{Table, Upstreams},
};
use crate::{config, telemetry::result};

/// How often the names of models and hosts are asked for again.
const DISCOVERY: Duration = Duration::from_secs(30);
const RESOLUTION: Duration = Duration::from_secs(10);

/// How often the configuration's files are looked at.
const RELOAD: Duration = Duration::from_secs(5);

impl Upstreams {
    /// Runs as long as the upstreams are used.
    pub(crate) async fn upkeep(self) -> Infallible {
        tokio::select! {
            never = self.expire_idle() => never,
            never = self.probe() => never,
            never = self.discover() => never,
            never = self.resolve() => never,
            never = self.reload() => never,
        }
    }

    async fn expire_idle(&self) -> Infallible {
        loop {
            sleep(self.0.common.idle_timeout).await;
            for group in self.groups() {
                for replica in group.replicas.load().iter() {
                    replica.expire_idle();
                }
            }
        }
    }

    async fn probe(&self) -> Infallible {
        self.introduce(self.configured()).await;
        let Some(interval) = self.0.common.probe_interval else {
            return pending().await;
        };
        loop {
            self.publish();
            sleep(interval).await;
            each(self.configured(), probe).await;
        }
    }

    async fn discover(&self) -> Infallible {
        if self.0.common.probe_interval.is_none() {
            return pending().await;
        }
        loop {
            sleep(DISCOVERY).await;
            each(self.configured(), |group| async move {
                // What it listed before goes on.
                let _ = group.discover().await;
            })
            .await;
        }
    }

    async fn resolve(&self) -> Infallible {
        loop {
            sleep(RESOLUTION).await;
            each(self.configured(), resolve).await;
        }
    }

    /// Asks new groups what they are.
    async fn introduce(&self, groups: Vec<Arc<Group>>) {
        match self.0.common.probe_interval {
            Some(_) => each(groups, announce).await,
            None => each(groups, resolve).await,
        }
    }

    fn configured(&self) -> Vec<Arc<Group>> {
        self.0.table.load().groups.clone()
    }

    fn publish(&self) {
        let is_probed = self.0.common.probe_interval.is_some();
        let now = self.0.table.load().readiness(is_probed);
        self.0.readiness.send_if_modified(|before| {
            let is_changed = *before != now;
            *before = now;
            is_changed
        });
    }

    /// Reads the file again at SIGHUP and where it, or a file that it names, has changed.
    async fn reload(&self) -> Infallible {
        let (Some(source), Ok(mut hangup)) = (&self.0.source, signal(SignalKind::hangup())) else {
            return pending().await;
        };
        let mut last_faults = String::new();
        loop {
            let is_asked = tokio::select! {
                _ = hangup.recv() => true,
                () = sleep(RELOAD) => false,
            };
            let source = source.clone();
            let Ok(read) = spawn_blocking(move || source.read()).await else {
                continue;
            };
            let taken = match read {
                Ok(upstreams) => self.take(upstreams, is_asked).await,
                Err(faults) => Err(faults.to_string()),
            };
            let faults = taken.err().unwrap_or_default();
            if !faults.is_empty() {
                self.reloaded(false);
            }
            if !faults.is_empty() && (is_asked || faults != last_faults) {
                tracing::error!(%faults, "the configuration has faults, the running one is kept");
            }
            last_faults = faults;
        }
    }

    fn reloaded(&self, is_good: bool) {
        let reloads = &self.0.metrics.config_reloads;
        reloads.get_or_create(&result(is_good)).inc();
    }

    /// Takes over what the file says, where that has changed or somebody asked for it.
    async fn take(&self, mut upstreams: config::Upstreams, is_asked: bool) -> Result<(), String> {
        let before = self.0.table.load_full();
        if !is_asked && upstreams.fingerprint == before.fingerprint {
            return Ok(());
        }
        let settings = ["listen", "default_model"].into_iter();
        let settings = settings.zip(self.0.fixed.iter().zip(&upstreams.fixed));
        let fixed: Vec<_> = settings
            .filter_map(|(name, (running, new))| (running != new).then_some(name))
            .collect();
        let callers = mem::take(&mut upstreams.callers);
        let new = Table::new(
            upstreams,
            &before.groups,
            &self.0.common,
            self.0.limits,
            &self.0.metrics,
        );
        let new =
            new.map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)))?;
        // At once, since what follows may wait for an upstream.
        self.0.access.replace(&callers);
        let is_kept = |it: &Arc<Group>| before.groups.iter().any(|old| Arc::ptr_eq(old, it));
        let mut changed = new.groups.clone();
        changed.retain(|it| !is_kept(it));
        let names: Vec<_> = changed.iter().map(|it| it.config.name.clone()).collect();
        // Before any call is sent there, so that none waits for what is found.
        self.introduce(changed).await;
        self.0.table.store(Arc::new(new));
        self.publish();
        self.reloaded(true);
        tracing::info!(
            changed = names.join(", "),
            "the configuration was read again"
        );
        if !fixed.is_empty() {
            let settings = fixed.join(", ");
            tracing::warn!(settings, "changed in the file, but need a restart");
        }
        Ok(())
    }

    /// What each upstream answers, a line each.
    pub(crate) async fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for group in self.configured() {
            let said = introduced(group).await;
            lines.push(said.unwrap_or_else(|warning| warning));
        }
        lines
    }
}

/// Does the same with all groups at once.
async fn each<F>(groups: Vec<Arc<Group>>, act: impl Fn(Arc<Group>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut all: JoinSet<()> = groups.into_iter().map(act).collect();
    while all.join_next().await.is_some() {}
}

async fn probe(group: Arc<Group>) {
    let mut probes = JoinSet::new();
    for replica in group.replicas.load().iter() {
        let replica = Arc::clone(replica);
        probes.spawn(async move { replica.probed(&replica.health().await) });
    }
    while probes.join_next().await.is_some() {}
}

async fn resolve(group: Arc<Group>) {
    if group.config.all_addresses {
        group.resolve().await;
    }
}

async fn announce(group: Arc<Group>) {
    match introduced(group).await {
        Ok(line) => tracing::info!("{line}"),
        Err(line) => tracing::warn!("{line}"),
    }
}

/// Asks a group for all that is to be known of it.
async fn introduced(group: Arc<Group>) -> Result<String, String> {
    resolve(Arc::clone(&group)).await;
    probe(Arc::clone(&group)).await;
    let found = group.discover().await;
    line(&group, found).await
}

/// What was found, or the likely mistake.
async fn line(group: &Group, found: Result<(), Error>) -> Result<String, String> {
    let name = &group.config.name;
    let replicas = group.replicas.load_full();
    let n = replicas.len();
    let n_answer = replicas
        .iter()
        .filter(|it| it.answers.load(Relaxed))
        .count();
    let models: Vec<_> = group.names().into_keys().collect();
    if let Err(error) = found {
        return Err(format!("upstream {name}: {}", mistake(&error, group)));
    }
    let mut release = "no version".to_owned();
    if let Some(replica) = replicas.first()
        && let Some(version) = replica.version().await
    {
        release = format!("vLLM {version}");
    }
    let models = models.join(", ");
    let line = format!("upstream {name}: {n_answer} of {n} replicas, {release}, models {models}");
    match n_answer == n {
        true => Ok(line),
        false => Err(line),
    }
}

fn mistake(error: &Error, group: &Group) -> String {
    let mut urls = group.config.urls.iter();
    let has_v1 = urls.all(|url| url.path().ends_with("/v1"));
    if matches!(error, Error::Connect(_)) {
        return "nothing listens at its URL".to_owned();
    }
    if let Error::Refused(refusal) = error {
        let key = "it refuses the key; set api_key, or OPENAI_API_KEY for --upstream";
        match refusal.status {
            401 | 403 => return key.to_owned(),
            404 if !has_v1 => return "no models there; its URL should end with /v1".to_owned(),
            _ => {}
        }
    }
    error.to_string()
}
