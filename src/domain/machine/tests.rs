use super::*;

/// Berlin.
fn zone() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn start() -> Time {
    Time::parse("2026-10-05T00:00:00Z").unwrap()
}

/// Looks every [`EVERY`] from `start` for `secs` seconds; tells each change: at which second, and the pause.
fn watch(rules: &Rules, secs: u64, read: impl Fn(u64) -> Readings) -> Vec<(u64, Option<Pause>)> {
    watch_each(EVERY, rules, secs, read)
}

/// What changes where it is looked at once in `every`.
fn watch_each(
    every: Duration,
    rules: &Rules,
    secs: u64,
    read: impl Fn(u64) -> Readings,
) -> Vec<(u64, Option<Pause>)> {
    let (zone, mut watch, mut last) = (zone(), Watch::default(), None);
    let mut changes = Vec::new();
    for second in (0..secs).step_by(usize::try_from(every.as_secs()).unwrap()) {
        let steady = Duration::from_secs(second);
        let now = Moment {
            wall: start().plus(steady),
            steady,
            zone: &zone,
        };
        let verdict = watch.look(rules, &read(second), None, now);
        if verdict.pause != last {
            changes.push((second, verdict.pause.clone()));
            last = verdict.pause;
        }
    }
    changes
}

fn battery(on: bool) -> Readings {
    Readings {
        on_battery: Reading::Is(on),
        ..Readings::default()
    }
}

#[test]
fn power_that_flaps_is_one_pause_that_ends_half_a_minute_after_it() {
    let rules = Rules {
        on_battery: true,
        ..Rules::default()
    };
    // From 100 to 400 the plug is loose: off for ten seconds, on for ten.
    let changes = watch(&rules, 600, |at| {
        battery((100..400).contains(&at) && at / 10 % 2 == 0)
    });
    let seconds: Vec<u64> = changes.iter().map(|(at, _)| *at).collect();
    assert_eq!(seconds, [100, 390 + 30]);
    let pause = changes[0].1.as_ref().unwrap();
    assert_eq!(pause.words, "on battery, until power returns");
    assert_eq!(pause.until, None);
    assert_eq!(pause.sentence(), "Busy; please try again later.");
    assert_eq!(changes[1].1, None);
}

#[test]
fn a_game_that_comes_and_goes_pauses_at_once_and_is_named() {
    let rules = Rules {
        programs: vec!["steam".to_owned(), "game".to_owned()],
        ..Rules::default()
    };
    let changes = watch(&rules, 400, |at| Readings {
        programs: Reading::Is(if (50..100).contains(&at) || (110..200).contains(&at) {
            vec!["game".to_owned()]
        } else {
            Vec::new()
        }),
        ..Readings::default()
    });
    let seconds: Vec<u64> = changes.iter().map(|(at, _)| *at).collect();
    assert_eq!(seconds, [50, 230]);
    assert_eq!(
        changes[0].1.as_ref().unwrap().words,
        "game runs, until it ends"
    );
}

#[test]
fn heat_pauses_at_once_and_ends_when_it_has_cooled_for_a_minute() {
    let rules = Rules {
        max_celsius: 80,
        ..Rules::default()
    };
    let celsius = |at: u64| match at {
        0..100 => 80,
        100..110 => 81,
        // Cooler than the limit, and not cool.
        110..200 => 77,
        200..230 => 75,
        230..240 => 78,
        _ => 60,
    };
    let changes = watch(&rules, 500, |at| Readings {
        celsius: Reading::Is(celsius(at)),
        ..Readings::default()
    });
    let seconds: Vec<u64> = changes.iter().map(|(at, _)| *at).collect();
    assert_eq!(seconds, [100, 300]);
    let words = &changes[0].1.as_ref().unwrap().words;
    assert_eq!(
        words,
        "the graphics card is hotter than 80 °C, until it has cooled to 75 °C"
    );
}

#[test]
fn a_spike_pauses_nothing_and_a_load_within_ten_seconds() {
    let rules = Rules {
        max_cpu: 50,
        max_gpu: 50,
        min_vram_mb: 1_000,
        ..Rules::default()
    };
    for which in 0..3 {
        let changes = watch(&rules, 600, |at| {
            let busy = at == 20 || (100..200).contains(&at);
            let share = |of| Reading::Is(if busy && which == of { 60 } else { 45 });
            let calm = |of| {
                if at >= 200 && which == of {
                    Reading::Is(10)
                } else {
                    share(of)
                }
            };
            Readings {
                cpu: calm(0),
                gpu: calm(1),
                vram_mb: Reading::Is(match (which, busy) {
                    (2, true) => 900,
                    (2, false) if (200..300).contains(&at) => 1_050,
                    _ => 2_000,
                }),
                ..Readings::default()
            }
        });
        let seconds: Vec<u64> = changes.iter().map(|(at, _)| *at).collect();
        let end = if which == 2 { 360 } else { 260 };
        assert_eq!(seconds, [104, end], "{which}");
    }
}

#[test]
fn what_our_own_work_hides_counts_as_it_was() {
    let rules = Rules {
        max_gpu: 50,
        ..Rules::default()
    };
    let changes = watch(&rules, 600, |at| Readings {
        gpu: match at {
            0..100 | 300..400 => Reading::Hidden,
            100..300 => Reading::Is(90),
            _ => Reading::Is(5),
        },
        ..Readings::default()
    });
    let seconds: Vec<u64> = changes.iter().map(|(at, _)| *at).collect();
    assert_eq!(seconds, [104, 460]);
}

#[test]
fn somebody_at_the_keyboard_pauses_it_until_nobody_is() {
    let rules = Rules {
        idle: Duration::from_secs(600),
        ..Rules::default()
    };
    let idle = |at: u64| if at < 1_000 { at + 700 } else { at - 1_000 };
    let changes = watch(&rules, 2_000, |at| Readings {
        idle: Reading::Is(Duration::from_secs(idle(at))),
        ..Readings::default()
    });
    let seconds: Vec<u64> = changes.iter().map(|(at, _)| *at).collect();
    assert_eq!(seconds, [1_000, 1_600]);
    let words = &changes[0].1.as_ref().unwrap().words;
    assert_eq!(
        words,
        "somebody uses the machine, until nobody has for 10 minutes"
    );
}

#[test]
fn a_month_of_hours_with_dst_opens_and_closes_by_the_local_clock() {
    let rules = Rules {
        hours: vec![
            Hours::parse("mon-fri 22:00-07:00").unwrap(),
            Hours::parse("sat,sun 00:00-24:00").unwrap(),
        ],
        ..Rules::default()
    };
    // The hours are of whole minutes.
    let minute = Duration::from_secs(60);
    let changes = watch_each(minute, &rules, 31 * 86_400, |_| Readings::default());
    let (zone, mut opened) = (zone(), 0);
    for (at, pause) in &changes {
        let wall = start().plus(Duration::from_secs(*at));
        let said = hours::words(&zone, wall, wall);
        if let Some(pause) = pause {
            let closes = ["07:00", "00:00"]
                .iter()
                .any(|clock| said.starts_with(clock));
            assert!(closes || *at == 0, "closes at {said}");
            let until = pause.until.unwrap();
            let opens = changes
                .iter()
                .find(|(later, pause)| later > at && pause.is_none());
            if let Some((later, _)) = opens {
                assert_eq!(until, start().plus(Duration::from_secs(*later)));
            }
            let words = hours::words(&zone, wall, until);
            assert_eq!(pause.words, format!("outside its hours, until {words}"));
        } else {
            assert!(said.starts_with("22:00"), "opens at {said}");
            opened += 1;
        }
    }
    // Every weekday evening of the month, in summer time and after it; it began in a night that belongs to a Sunday.
    assert_eq!(opened, 23);
}

#[test]
fn several_causes_are_told_and_the_last_of_their_ends() {
    let (zone, mut watch) = (zone(), Watch::default());
    let rules = Rules {
        hours: vec![Hours::parse("22:00-23:00").unwrap()],
        on_battery: true,
        ..Rules::default()
    };
    let now = Moment {
        wall: start(),
        steady: Duration::ZERO,
        zone: &zone,
    };
    let snoozed = Some(start().plus(Duration::from_secs(3_600)));
    let mains = watch
        .look(&rules, &battery(false), snoozed, now)
        .pause
        .unwrap();
    assert_eq!(
        mains.words,
        "snoozed, until 03:00 CEST; outside its hours, until 22:00 CEST"
    );
    assert_eq!(
        mains.until,
        Some(Time::parse("2026-10-05T20:00:00Z").unwrap())
    );
    assert_eq!(
        mains.sentence(),
        "Busy until 2026-10-05T20:00:00Z; please try again then."
    );
    let both = watch
        .look(&rules, &battery(true), snoozed, now)
        .pause
        .unwrap();
    assert_eq!(both.until, None, "nobody knows when power returns");
    assert_eq!(both.causes, [Cause::Snoozed, Cause::Battery, Cause::Hours]);
}

#[test]
fn a_rule_that_the_machine_tells_nothing_for_is_said_and_pauses_nothing() {
    let (zone, mut watch) = (zone(), Watch::default());
    let rules = Rules {
        on_battery: true,
        max_celsius: 80,
        ..Rules::default()
    };
    let now = Moment {
        wall: start(),
        steady: Duration::ZERO,
        zone: &zone,
    };
    let verdict = watch.look(&rules, &Readings::default(), None, now);
    assert_eq!(verdict.pause, None);
    assert_eq!(
        verdict.blind,
        ["machine.on_battery", "machine.max_gpu_celsius"]
    );
}

#[test]
fn a_rule_that_is_taken_out_of_the_settings_ends_its_pause() {
    let (zone, mut watch) = (zone(), Watch::default());
    let mut rules = Rules {
        on_battery: true,
        ..Rules::default()
    };
    let now = Moment {
        wall: start(),
        steady: Duration::ZERO,
        zone: &zone,
    };
    assert!(
        watch
            .look(&rules, &battery(true), None, now)
            .pause
            .is_some()
    );
    rules.on_battery = false;
    assert_eq!(watch.look(&rules, &battery(true), None, now).pause, None);
}

#[test]
fn durations_are_read_as_people_write_them() {
    for (text, secs) in [
        ("45s", 45),
        ("90m", 5_400),
        ("3h", 10_800),
        ("1h30m", 5_400),
        ("2D", 172_800),
    ] {
        assert_eq!(duration(text), Ok(Duration::from_secs(secs)), "{text}");
    }
    for bad in [
        "",
        "3",
        "h",
        "0m",
        "31d",
        "3x",
        "-3h",
        "99999999999h",
        "1h30",
    ] {
        assert!(duration(bad).is_err(), "{bad}");
    }
}
