//! A random walk over the cache beside a map that does the same: every answer and every count is the map's.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use redpoll_services::cache::{LoadOptions, Lookup, Namespace, NearSettings, SetOptions};
use redpoll_services::{Settings, Tenant};
use redpoll_testkit::Random;
use serde_json::json;

use crate::support::{Place, tenant};

const STEPS: u64 = 400;
const TAGS: [&str; 4] = ["red", "blue", "red:blue", "r"];

/// What is cached: a value and its tags.
type Model = BTreeMap<String, (u64, Vec<String>)>;

fn remove(model: &mut Model, goes: impl Fn(&str, &[String]) -> bool) -> u64 {
    let before = model.len();
    model.retain(|key, (_, tags)| !goes(key, tags));
    (before - model.len()) as u64
}

fn seen(model: &Model, key: &str) -> Lookup {
    model.get(key).map_or(Lookup::Miss, |(value, _)| Lookup::Hit(json!(value).into()))
}

async fn step(namespace: &Namespace, model: &mut Model, random: &mut Random, number: u64) {
    let key = format!("k{}", random.below(30));
    let tags: Vec<String> = TAGS.iter().filter(|_| random.below(3) == 0).map(|tag| (*tag).to_owned()).collect();
    let set = SetOptions { tags: tags.clone(), ..SetOptions::default() };
    match random.below(12) {
        0..3 => {
            namespace.store(&key, &json!(number).into(), &set).await.unwrap();
            model.insert(key, (number, tags));
        }
        3 => {
            let options = LoadOptions { set, ..LoadOptions::default() };
            let loader = move || async move { Ok::<_, String>(Some(json!(number).into())) };
            let loaded = namespace.get_or_set(&key, &options, loader).await.unwrap();
            let (value, _) = model.entry(key).or_insert((number, tags));
            assert_eq!(loaded.body, Some(json!(*value).into()));
        }
        4 => {
            let keys = [key.as_str(), "k1", "k2"];
            let entries = keys.map(|key| (key, json!(number).into()));
            assert!(namespace.store_many(&entries, &set).await.unwrap().iter().all(Result::is_ok));
            keys.iter().for_each(|key| drop(model.insert((*key).to_owned(), (number, tags.clone()))));
        }
        5 => assert_eq!(namespace.delete(&key).await, Ok(model.remove(&key).is_some())),
        6 => {
            let tag = TAGS[random.below(4) as usize];
            let gone = remove(model, |_, tags| tags.iter().any(|own| own == tag));
            assert_eq!(namespace.invalidate_tag(tag).await, Ok(gone), "{tag}");
        }
        7 if random.below(4) == 0 => {
            let gone = remove(model, |key, _| key.starts_with("k1"));
            assert_eq!(namespace.invalidate_pattern("k1*").await, Ok(gone));
        }
        8 if random.below(10) == 0 => {
            assert_eq!(namespace.clear().await, Ok(remove(model, |_, _| true)));
        }
        9 => assert_eq!(namespace.touch(&key, None).await, Ok(model.contains_key(&key))),
        _ => {
            let keys: Vec<String> = (0..30).map(|number| format!("k{number}")).collect();
            let names: Vec<&str> = keys.iter().map(String::as_str).collect();
            let expected: Vec<Lookup> = names.iter().map(|key| seen(model, key)).collect();
            assert_eq!(namespace.lookup_many(&names).await, Ok(expected));
            assert_eq!(namespace.count().await, Ok(model.len() as u64));
        }
    }
    let key = format!("k{}", random.below(30));
    assert_eq!(namespace.lookup(&key).await, Ok(seen(model, &key)), "{key}");
}

async fn walk(tenant: &Tenant, namespaces: &[Namespace]) {
    let seed = UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("seed {seed}, tenant {}", tenant.name());
    let mut random = Random::new(seed);
    let mut model = Model::new();
    for number in 0..STEPS {
        let namespace = &namespaces[random.below(namespaces.len() as u64) as usize];
        step(namespace, &mut model, &mut random, number).await;
    }
}

pub(crate) async fn two_processes_are_one_cache(place: Place) {
    let tenant = tenant();
    let open = async || place.services().await.cache(&tenant).namespace("users").unwrap();
    walk(&tenant, &[open().await, open().await]).await;
}

pub(crate) async fn a_process_sees_its_own_writes_also_near(place: Place) {
    let tenant = tenant();
    let mut settings = Settings::default();
    settings.cache.near = Some(NearSettings { entries_max: 20, ..NearSettings::default() });
    let services = place.services_with(settings).await;
    let open = || services.cache(&tenant).namespace("users").unwrap();
    walk(&tenant, &[open(), open()]).await;
}
