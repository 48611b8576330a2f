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
    time::{Instant, sleep},
};

use super::{
    error::Error,
    group::Group,
    set::{Table, Upstreams},
};

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
        let Some(interval) = self.0.common.probe_interval else {
            return pending().await;
        };
        let mut announced = 0;
        let (mut discovered, mut resolved) = (None::<Instant>, None::<Instant>);
        loop {
            let table = self.0.table.load_full();
            let is_new = announced != Arc::as_ptr(&table) as usize;
            let is_due = |last: Option<Instant>, every| {
                is_new || last.is_none_or(|last| last.elapsed() >= every)
            };
            if is_due(resolved, RESOLUTION) {
                resolved = Some(Instant::now());
                for group in table.groups.iter().filter(|it| it.config.all_addresses) {
                    group.resolve().await;
                }
            }
            probe_all(&table.groups).await;
            if is_due(discovered, DISCOVERY) {
                discovered = Some(Instant::now());
                for group in &table.groups {
                    discover(group, is_new).await;
                }
            }
            self.publish(&table);
            announced = Arc::as_ptr(&table) as usize;
            sleep(interval).await;
        }
    }

    fn publish(&self, table: &Table) {
        let now = table.readiness(1);
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
            let faults = match read {
                Ok(mut upstreams) => {
                    let table = self.0.table.load();
                    if !is_asked && upstreams.fingerprint == table.fingerprint {
                        last_faults.clear();
                        continue;
                    }
                    let callers = mem::take(&mut upstreams.callers);
                    match Table::new(upstreams, &self.0.common, self.0.limits) {
                        Ok(new) => {
                            new.keep_discovered(&table);
                            self.0.access.replace(&callers);
                            self.0.table.store(Arc::new(new));
                            tracing::info!("the configuration was read again");
                            last_faults.clear();
                            continue;
                        }
                        Err(error) => format!("{error}: {:?}", std::error::Error::source(&error)),
                    }
                }
                Err(faults) => faults.to_string(),
            };
            if is_asked || faults != last_faults {
                tracing::error!(%faults, "the configuration has faults, the running one is kept");
            }
            last_faults = faults;
        }
    }

    /// What each upstream answers, a line each.
    pub(crate) async fn describe(&self) -> Vec<String> {
        let groups = self.0.table.load().groups.clone();
        probe_all(&groups).await;
        let mut lines = Vec::new();
        for group in &groups {
            let found = group.discover().await;
            lines.push(line(group, found).await.unwrap_or_else(|warning| warning));
        }
        lines
    }
}

impl Table {
    /// Takes over what the upstreams of the same name listed, until they are asked again.
    fn keep_discovered(&self, before: &Self) {
        for group in &self.groups {
            let same = |it: &&Arc<Group>| it.config.name == group.config.name;
            if let Some(known) = before.groups.iter().find(same) {
                group.discovered.store(known.discovered.load_full());
                let was_asked = known.was_asked.load(Relaxed);
                group.was_asked.store(was_asked, Relaxed);
            }
        }
    }
}

async fn probe_all(groups: &[Arc<Group>]) {
    let mut probes = JoinSet::new();
    for group in groups {
        for replica in group.replicas.load().iter() {
            let replica = Arc::clone(replica);
            probes.spawn(async move { replica.probed(&replica.health().await) });
        }
    }
    while probes.join_next().await.is_some() {}
}

async fn discover(group: &Group, is_new: bool) {
    let found = group.discover().await;
    if is_new {
        match line(group, found).await {
            Ok(line) => tracing::info!("{line}"),
            Err(line) => tracing::warn!("{line}"),
        }
    }
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
