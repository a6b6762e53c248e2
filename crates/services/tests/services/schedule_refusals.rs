//! What schedules refuse, and that nothing is changed by it; and what the operations look like from outside.

use std::time::Duration;

use redpoll_services::jobs::{JobSettings, NewJob, Payload};
use redpoll_services::schedules::{MAX_ID_BYTES, MAX_MOMENT_MS, Misfire, Schedule, ScheduleSettings, Spec, Timing};
use redpoll_services::{Error, Settings};
use serde_json::json;

use crate::operations::run;
use crate::schedules::{HOUR_MS, hourly, job, site, site_of};
use crate::support::{Place, tenant};

pub(crate) async fn what_can_never_tick_is_refused(place: Place) {
    let site = site(&place).await;
    let cron = |expression: &str| Timing::cron(expression, "UTC");
    let long = format!("{} * * * *", "0,".repeat(200));
    let mut backwards = cron("* * * * *");
    (backwards.start_ms, backwards.end_ms) = (Some(9), Some(5));
    let mut over = cron("0 0 1 1 *");
    over.end_ms = Some(site.now().await + 1);
    let timings = [
        cron("0 0 30 2 *"),
        cron("0 0 31 4,6,9,11 *"),
        cron("0 0 30 2 +MON"),
        cron(""),
        cron("* * * *"),
        cron("* * * * * * *"),
        cron("61 * * * *"),
        cron("0 24 * * *"),
        cron("5-1 * * * *"),
        cron("*/0 * * * *"),
        cron("@reboot"),
        cron("\0 * * * *"),
        cron("é * * * *"),
        cron("99999999999999999999 * * * *"),
        cron(&long),
        Timing::cron("* * * * *", "Europe/Atlantis"),
        Timing::cron("* * * * *", ""),
        Timing::cron("* * * * *", "../../etc/passwd"),
        Timing::every(Duration::from_millis(99)),
        Timing::every(Duration::from_micros(100_500)),
        Timing::every(Duration::MAX),
        Timing::new(Spec::Every { period: Duration::from_secs(1), anchor_ms: Some(u64::MAX) }),
        Timing::at(u64::MAX),
        backwards,
        over,
    ];
    for timing in timings {
        let result = site.schedules.put("s", &Schedule::new(timing.clone(), "q", job("x"))).await;
        assert!(matches!(result, Err(Error::InvalidInput { .. })), "{timing:?}: {result:?}");
    }
    let error = site.schedules.preview(&cron("0 0 30 2 *"), None, 1).await.unwrap_err().to_string();
    assert_eq!(error, "cron: \"0 0 30 2 *\": there is no such date");
    // Neither are ticks looked for after the last moment there is.
    for timing in [cron("* * * * *"), Timing::every(Duration::from_secs(1)), Timing::at(5)] {
        for from_ms in [MAX_MOMENT_MS + 1, i64::MAX as u64, u64::MAX] {
            let error = site.schedules.preview(&timing, Some(from_ms), 1).await.unwrap_err().to_string();
            assert_eq!(error, format!("from_ms: more than {MAX_MOMENT_MS}"));
        }
        assert_eq!(site.schedules.preview(&timing, Some(MAX_MOMENT_MS), 1).await.unwrap(), []);
    }
    assert_eq!(site.schedules.list(None, 9).await.unwrap(), []);
}

pub(crate) async fn what_a_schedule_cannot_be_is_refused(place: Place) {
    let settings = JobSettings { payload_max: 100, ..JobSettings::default() };
    let site = site_of(&place, &tenant(), settings).await;
    let good = hourly(site.now().await);
    site.schedules.put("s", &good).await.unwrap();
    let before = site.schedules.get("s").await.unwrap();
    let hour = Duration::from_millis(HOUR_MS);
    for bad in [
        Schedule { queue: String::new(), ..good.clone() },
        Schedule { job: NewJob { id: Some("mine".into()), ..job("x") }, ..good.clone() },
        Schedule { job: NewJob { at_ms: 5, ..job("x") }, ..good.clone() },
        Schedule { job: NewJob { attempts_max: Some(0), ..job("x") }, ..good.clone() },
        Schedule { jitter: hour, ..good.clone() },
        Schedule { jitter: hour * 48, ..good.clone() },
        Schedule { grace: Duration::MAX, ..good.clone() },
        Schedule { max_runs: Some(0), ..good.clone() },
        Schedule { misfire: Misfire::CatchUp(0), ..good.clone() },
        Schedule { misfire: Misfire::CatchUp(1_001), ..good.clone() },
    ] {
        let result = site.schedules.put("s", &bad).await;
        assert!(matches!(result, Err(Error::InvalidInput { .. })), "{bad:?}: {result:?}");
    }
    let large = Schedule { job: NewJob::new("n", Payload::bytes(vec![0; 200])), ..good.clone() };
    assert!(matches!(site.schedules.put("s", &large).await, Err(Error::TooLarge { .. })));
    for id in [String::new(), "x".repeat(MAX_ID_BYTES + 1)] {
        assert!(matches!(site.schedules.put(&id, &good).await, Err(Error::InvalidInput { .. })));
        assert!(matches!(site.schedules.get(&id).await, Err(Error::InvalidInput { .. })));
    }
    assert!(site.schedules.put(&"x".repeat(MAX_ID_BYTES), &good).await.unwrap().created);
    for count in [0, 1_001] {
        assert!(site.schedules.list(None, count).await.is_err() && site.schedules.next("s", count).await.is_err());
        assert!(site.schedules.history("s", 0, count).await.is_err());
    }
    assert_eq!(site.schedules.get("s").await.unwrap(), before);
}

pub(crate) async fn there_are_only_so_many_schedules(place: Place) {
    let schedules = ScheduleSettings { schedules_max: 2, ..ScheduleSettings::default() };
    let services = place.services_with(Settings { schedules, ..Settings::default() }).await;
    let schedules = services.schedules(&tenant());
    let schedule = hourly(services.backend().now_ms().await.unwrap());
    for id in ["a", "b", "a"] {
        schedules.put(id, &schedule).await.unwrap();
    }
    assert!(matches!(schedules.put("c", &schedule).await, Err(Error::Conflict(_))));
    assert!(matches!(schedules.get("c").await, Err(Error::NotFound(_))));
    schedules.delete("a").await.unwrap();
    schedules.put("c", &schedule).await.unwrap();
}

/// What no integer or float of the machine holds.
const BIG: &str = r#"{"of":[12345678901234567890123,0.1234567890123456789012345678901,null]}"#;

pub(crate) async fn schedules_round_trip(place: Place) {
    let services = place.services().await;
    let tenant = tenant().name().to_owned();
    let with = |more: serde_json::Value| {
        let mut input = json!({"tenant": tenant});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let ask = |name: &'static str, more: serde_json::Value| run(&services, "schedules", name, with(more));
    let big: serde_json::Value = serde_json::from_str(BIG).unwrap();
    let schedule = json!({
        "id": "nightly", "cron": "30 2 * * 1-5", "zone": "Europe/Berlin", "queue": "reports",
        "job": {"name": "report", "payload": big}, "misfire": "catch_up", "catch_up": 3,
        "overlap": "skip", "jitter_ms": 5000
    });
    let put = ask("put", schedule.clone()).await.unwrap();
    assert_eq!(put["created"], json!(true));
    let found = ask("get", json!({"id": "nightly"})).await.unwrap();
    for (field, value) in schedule.as_object().unwrap() {
        if field != "job" {
            assert_eq!(&found[field], value, "{field}");
        }
    }
    assert_eq!(found["job"]["payload"].to_string(), BIG);
    assert_eq!((&found["paused"], &found["runs"], &found["next_ms"]), (&json!(false), &json!(0), &put["next_ms"]));
    let next = ask("next", json!({"id": "nightly", "count": 2})).await.unwrap();
    assert_eq!(next["ticks"][0]["ms"], put["next_ms"]);
    let text = next["ticks"][1]["text"].as_str().unwrap();
    assert!(text.contains("T02:30:00+0") && text.ends_with("[Europe/Berlin]"), "{text}");
    let preview = json!({"cron": "@hourly", "zone": "America/New_York", "from_ms": 1_793_509_200_000_u64, "count": 3});
    let preview = ask("preview", preview).await.unwrap();
    let texts: Vec<_> = preview["ticks"].as_array().unwrap().iter().map(|tick| tick["text"].clone()).collect();
    assert_eq!(
        texts,
        [
            "2026-11-01T01:00:00-05:00[America/New_York]",
            "2026-11-01T02:00:00-05:00[America/New_York]",
            "2026-11-01T03:00:00-05:00[America/New_York]"
        ]
    );
    assert_eq!(ask("pause", json!({"id": "nightly"})).await, Ok(json!({"changed": true})));
    assert_eq!(ask("resume", json!({"id": "nightly"})).await, Ok(json!({"changed": true})));
    let job = ask("run", json!({"id": "nightly"})).await.unwrap()["job"].clone();
    let history = ask("history", json!({"id": "nightly"})).await.unwrap();
    assert_eq!((&history["entries"][0]["outcome"], &history["entries"][0]["job"]), (&json!("manual"), &job));
    let page = ask("list", json!({"count": 5})).await.unwrap();
    assert_eq!(page["schedules"].as_array().unwrap().len(), 1);
    for bad in [
        json!({"id": "x", "queue": "q", "job": {}}),
        json!({"id": "x", "queue": "q", "job": {}, "cron": "* * * * *", "every_ms": 1000}),
        json!({"id": "x", "queue": "q", "job": {}, "every_ms": 1000, "zone": "UTC"}),
        json!({"id": "x", "queue": "q", "job": {}, "at_ms": 1, "anchor_ms": 1}),
        json!({"id": "x", "queue": "q", "job": {}, "every_ms": 1000, "catch_up": 1}),
        json!({"id": "x", "queue": "q", "job": {}, "every_ms": 1000, "misfire": "catch_up"}),
        json!({"id": "x", "queue": "q", "job": {}, "every_ms": 1000, "mistake": 1}),
        json!({"id": "x", "queue": "q", "job": {"payload": 1, "payload_base64": ""}, "every_ms": 1000}),
    ] {
        assert_eq!(ask("put", bad.clone()).await.unwrap_err().status(), 422, "{bad}");
    }
    assert_eq!(ask("delete", json!({"id": "nightly"})).await, Ok(json!({"changed": true})));
    assert_eq!(ask("get", json!({"id": "nightly"})).await.unwrap_err().status(), 404);
}
