//! User instructions a chunk and a call, counted by callgrind: the figures that another machine's load does not change.
//!
//! A server is run twice under valgrind, over streams of two lengths. The difference is what the chunks cost, without
//! start, handshakes and ends.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{runtime::Builder, task::JoinSet, time::sleep};

use crate::{
    Result,
    client::{Client, Clients},
    plan::Pace,
    report,
    server::{Kind, Launch, Server},
};

/// Callers at once. Few, since callgrind slows a server by fifty times and it must keep up.
const CALLERS: u32 = 8;

/// From one caller's start to the next, so that no two wake the server together.
const OPENING: Duration = Duration::from_micros(2_500);

/// What is counted, over two lengths of work.
struct Count {
    head: &'static str,
    work: Work,
    /// Chunks, or calls, of each caller.
    lengths: [u32; 2],
}

/// What each caller does.
#[derive(Clone, Copy)]
enum Work {
    Stream(Pace),
    UnaryCalls,
}

const COUNTS: [Count; 3] = [
    Count {
        head: "user instructions/chunk, 16 events a write",
        work: Work::Stream(Pace {
            burst: 16,
            pause: Duration::from_millis(50),
        }),
        lengths: [160, 1_600],
    },
    Count {
        head: "user instructions/chunk, paced",
        work: Work::Stream(Pace::PACED),
        lengths: [50, 250],
    },
    Count {
        head: "user instructions/unary call",
        work: Work::UnaryCalls,
        lengths: [20, 120],
    },
];

/// Counts for each server, and prints a table.
pub(crate) fn count(servers: &[Kind], launch: &Launch) -> Result<()> {
    let servers: Vec<Kind> = servers
        .iter()
        .copied()
        .filter(|&kind| kind != Kind::Direct)
        .collect();
    let mut columns: Vec<report::Column<'_>> = Vec::new();
    for (number, count) in COUNTS.iter().enumerate() {
        let mut found = Vec::new();
        for &kind in &servers {
            report::note(&format!("{} of {kind}", count.head));
            let profile = launch.directory.join(format!("callgrind.{kind}.{number}"));
            found.push((kind, instructions(kind, count, launch, &profile)?));
        }
        let cell = move |kind| found.iter().find(|it| it.0 == kind).map(|it| it.1);
        columns.push((count.head, Box::new(cell)));
    }
    report::table(&mut io::stdout().lock(), &servers, &columns)?;
    report::note(&format!(
        "\nProfiles of the longer runs: callgrind_annotate {}/callgrind.SERVER.COLUMN",
        launch.directory.display()
    ));
    Ok(())
}

/// Of one chunk or call. The profile of the longer run is left behind.
fn instructions(kind: Kind, count: &Count, launch: &Launch, profile: &Path) -> Result<f64> {
    let launch = Launch {
        tool: Some(callgrind(profile)),
        ..launch.clone()
    };
    let [short, long] = count.lengths;
    let mut totals = [0; 2];
    for (total, length) in totals.iter_mut().zip([short, long]) {
        serve(kind, count.work, length, &launch)?;
        *total = written_total(profile)?;
    }
    let [less, more] = totals;
    Ok((more as f64 - less as f64) / f64::from(CALLERS * (long - short)))
}

fn callgrind(profile: &Path) -> Vec<String> {
    vec![
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", profile.display()),
    ]
}

/// Serves callers to their end.
fn serve(kind: Kind, work: Work, length: u32, launch: &Launch) -> Result<()> {
    let pace = match work {
        Work::Stream(pace) => pace,
        Work::UnaryCalls => Pace::FLAT,
    };
    let vllms = Server::vllms(pace, launch)?;
    let mut server = Server::start(kind, &vllms, launch)?.ok_or("there is no server to count")?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let served: Result<()> = runtime.block_on(async {
        let clients = Clients::connect(kind, server.address(), CALLERS as usize).await?;
        let mut callers = JoinSet::new();
        for number in 0..CALLERS {
            callers.spawn(call(clients.client(number as usize).await?, work, length));
            sleep(OPENING).await;
        }
        while let Some(outcome) = callers.join_next().await {
            outcome??;
        }
        Ok(())
    });
    served?;
    server.stop()
}

async fn call(mut client: Client, work: Work, length: u32) -> Result<()> {
    match work {
        Work::Stream(_pace) => {
            let chunks = client.stream(length, |_chunks| ()).await?;
            match chunks == u64::from(length) {
                true => Ok(()),
                false => Err("a stream is not whole".into()),
            }
        }
        Work::UnaryCalls => {
            for _ in 0..length {
                client.unary().await?;
            }
            Ok(())
        }
    }
}

/// The sum that callgrind writes at the end of a profile.
fn written_total(profile: &Path) -> Result<u64> {
    let text = fs::read_to_string(PathBuf::from(profile))?;
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(totals.ok_or("the profile has no totals")?.trim().parse()?)
}
