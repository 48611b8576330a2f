use super::{super::replica::tests::replica, *};

fn replicas(n: usize, max_in_flight: Option<usize>) -> Vec<Arc<Replica>> {
    let label = |n: usize| format!("http://vllm-{n}:8000/v1");
    let replicas = (0..n).map(|n| Arc::new(replica(&label(n), max_in_flight)));
    replicas.collect()
}

fn counts(replicas: &[Arc<Replica>]) -> Vec<usize> {
    replicas.iter().map(|it| it.n_in_flight()).collect()
}

/// The place of the replica that a session is sent to.
fn at(replicas: &[Arc<Replica>], session: &[u8]) -> usize {
    let (picked, _counted) = pick(replicas, Some(session)).unwrap();
    let mut all = replicas.iter();
    all.position(|it| Arc::ptr_eq(it, &picked)).unwrap()
}

#[test]
fn equal_streams_are_spread_evenly() {
    for n in [2, 3, 20] {
        let replicas = replicas(n, None);
        let _held: Vec<_> = (0..100 * n).map(|_| pick(&replicas, None)).collect();
        let counts = counts(&replicas);
        let is_even = |count: &usize| (80..=120).contains(count);
        assert!(counts.iter().all(is_even), "{counts:?}");
    }
}

#[test]
fn a_replica_that_keeps_its_streams_gets_fewer() {
    let replicas = replicas(3, None);
    let mut slow = Vec::new();
    for _ in 0..300 {
        let (picked, counted) = pick(&replicas, None).unwrap();
        // The others answer at once.
        if Arc::ptr_eq(&picked, &replicas[0]) {
            slow.push(counted);
        }
    }
    assert!(slow.len() < 30, "{}", slow.len());
}

#[test]
fn a_session_stays_where_it_was_and_few_move_when_a_replica_goes() {
    let all = replicas(5, None);
    let sessions: Vec<_> = (0..1000).map(|n: u32| n.to_be_bytes()).collect();
    let homes: Vec<_> = sessions.iter().map(|it| at(&all, it)).collect();
    for (session, &home) in sessions.iter().zip(&homes) {
        assert_eq!(at(&all, session), home);
        // Only those of the last one move.
        let moved = at(&all[..4], session);
        assert!(home == 4 || moved == home);
    }
    for n in 0..5 {
        let n_here = homes.iter().filter(|home| **home == n).count();
        assert!((120..=280).contains(&n_here), "{n}: {n_here}");
    }
}

#[test]
fn a_session_leaves_a_replica_with_a_quarter_and_ten_more_than_the_mean() {
    // Requests at its home and at each of the two others; it leaves above both bounds.
    for (here, there, stays) in [
        (0, 0, true),
        (15, 0, true),
        (16, 0, false),
        (21, 6, true),
        (22, 6, false),
        // Far more than ten, and a quarter.
        (135, 100, true),
        (140, 100, true),
        (143, 100, false),
        (400, 300, true),
        (430, 300, false),
    ] {
        let replicas = replicas(3, None);
        let home = at(&replicas, b"s");
        let mut held = Vec::new();
        for (n, replica) in replicas.iter().enumerate() {
            let n_held = if n == home { here } else { there };
            held.extend((0..n_held).map(|_| replica.begin().unwrap()));
        }
        assert_eq!(at(&replicas, b"s") == home, stays, "{here} {there}");
        // With the streams gone, it is back.
        drop(held);
        assert_eq!(at(&replicas, b"s"), home);
    }
}

#[test]
fn no_replica_gets_more_than_it_may() {
    for session in [None, Some(&b"s"[..])] {
        let replicas = replicas(3, Some(4));
        let held: Vec<_> = (0..12).map(|_| pick(&replicas, session)).collect();
        assert!(held.iter().all(Option::is_some));
        assert_eq!(counts(&replicas), [4, 4, 4]);
        assert!(pick(&replicas, session).is_none());
        drop(held);
        assert_eq!(counts(&replicas), [0, 0, 0]);
        assert!(pick(&replicas, session).is_some());
    }
}

#[test]
fn one_that_is_out_gets_nothing_unless_all_are() {
    let replicas = replicas(3, None);
    let put_out = |n: usize| {
        for _ in 0..3 {
            replicas[n].probed(&Ok(http::StatusCode::SERVICE_UNAVAILABLE));
        }
    };
    put_out(0);
    for n in 0..100_u32 {
        let (picked, _) = pick(&replicas, (n % 2 == 0).then_some(&n.to_be_bytes()[..])).unwrap();
        assert!(!Arc::ptr_eq(&picked, &replicas[0]));
    }
    let failed = [Arc::clone(&replicas[1])];
    let (other, _) = pick_other(&replicas, &failed).unwrap();
    assert!(Arc::ptr_eq(&other, &replicas[2]));
    (1..3).for_each(put_out);
    assert!(pick_other(&replicas, &failed).is_none());
    let _held: Vec<_> = (0..30).map(|_| pick(&replicas, None)).collect();
    assert!(counts(&replicas).iter().all(|&n| n > 5));
}
