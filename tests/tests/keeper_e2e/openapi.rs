//! The console's answers are what its OpenAPI document says of them: every path, every status that it names, nothing more in an
//! object than is described, on a keeper that has something to show everywhere.

use std::collections::BTreeSet;
use std::time::Duration;

use cordon_client::Config;
use cordon_keeper::record::AlarmKind;
use cordon_keeper::{Approvers, Keeper};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::board::GAUGE;
use crate::playbook::{ADA, PLAYBOOK, people};
use crate::world::{Rules, World, at_most, stop_board, until};

const RULES: Rules = Rules(concat!(
    at_most!("gauge-low", "market", "get(0)"),
    r#"
[[invariant]]
id       = "gauge-lower"
scope    = "market"
rule     = "board.get(0) <= 50"
robust   = true
level    = "ReduceOnly"
"#,
    stop_board!()
));

/// What does not go with a schema, each with its place. Strict: what an object has beyond its `properties` is a mistake, unless the
/// schema says what else there may be.
fn mistakes(document: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    for keyword in schema
        .as_object()
        .into_iter()
        .flatten()
        .map(|(keyword, _)| keyword.as_str())
    {
        const KNOWN: [&str; 9] = [
            "$ref",
            "additionalProperties",
            "allOf",
            "description",
            "enum",
            "items",
            "properties",
            "required",
            "type",
        ];
        assert!(KNOWN.contains(&keyword), "{place}: nobody here understands {keyword}");
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        let named = document.pointer(pointer).unwrap_or_else(|| panic!("no {reference}"));
        return mistakes(document, named, value, place, found);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return mistakes(document, &together(document, parts), value, place, found);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{place}: a schema without a type: {schema}"),
    };
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{place}: no type {other}"),
    };
    if !kinds.iter().any(|kind| is(kind)) {
        found.push(format!("{place}: {value} is no {kinds:?}"));
        return;
    }
    if let Some(known) = schema["enum"].as_array().filter(|known| !known.contains(value)) {
        found.push(format!("{place}: {value} is none of {known:?}"));
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        mistakes(document, &schema["items"], item, &format!("{place}[{at}]"), found);
    }
    let Some(fields) = value.as_object() else { return };
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !fields.contains_key(name) {
            found.push(format!("{place}: {name} is missing"));
        }
    }
    for (name, field) in fields {
        let place = format!("{place}.{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) | (None, schema @ Value::Object(_)) => mistakes(document, schema, field, &place, found),
            (None, _) => found.push(format!("{place} is not described")),
        }
    }
}

/// Objects that are described in parts, as one.
fn together(document: &Value, parts: &[Value]) -> Value {
    let (mut properties, mut required) = (serde_json::Map::new(), Vec::new());
    for part in parts {
        let held = match part["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => part,
        };
        properties.extend(held["properties"].as_object().cloned().unwrap_or_default());
        required.extend(held["required"].as_array().cloned().unwrap_or_default());
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

/// The document, and what was compared with it.
struct Api {
    base: String,
    client: reqwest::Client,
    document: Value,
    seen: BTreeSet<(String, String, u16)>,
}

impl Api {
    /// Asks `path`, which the document has as `described`; the answer has to be as it says.
    async fn ask(&mut self, method: &str, described: &str, path: &str, body: Option<(Option<&str>, Value)>) -> Value {
        let url = format!("{}{path}", self.base);
        let mut request = match method {
            "post" => self.client.post(url),
            _ => self.client.get(url),
        };
        if let Some((token, body)) = body {
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            request = match body {
                Value::String(text) => request.header("content-type", "application/json").body(text),
                body => request.json(&body),
            };
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let value: Value = answer.json().await.unwrap();
        let said = &self.document["paths"][described][method]["responses"][status.to_string()];
        let schema = &said["content"]["application/json"]["schema"];
        assert!(
            schema.is_object(),
            "{method} {described} does not speak of {status}: {value}"
        );
        let mut found = Vec::new();
        mistakes(&self.document, schema, &value, path, &mut found);
        assert!(found.is_empty(), "{method} {path} ({status}): {found:#?}\n{value:#}");
        self.seen.insert((described.to_owned(), method.to_owned(), status));
        value
    }

    async fn get(&mut self, path: &str) -> Value {
        let described = path.split('?').next().unwrap().to_owned();
        self.ask("get", &described, path, None).await
    }

    /// What the document says is JSON and was not seen.
    fn unseen(&self) -> Vec<String> {
        let mut unseen = Vec::new();
        for (path, methods) in self.document["paths"].as_object().unwrap() {
            for (method, described) in methods.as_object().unwrap() {
                for (status, said) in described["responses"].as_object().unwrap() {
                    let key = (path.clone(), method.clone(), status.parse().unwrap());
                    if said["content"]["application/json"].is_object() && !self.seen.contains(&key) {
                        unseen.push(format!("{method} {path} {status}"));
                    }
                }
            }
        }
        unseen.sort();
        unseen
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_console_is_as_its_document_says() {
    let mut world = World::new(&RULES).await;
    let path = world.dir.path().join("cordon.toml");
    let twin = PLAYBOOK
        .split("[[playbook]]")
        .nth(1)
        .unwrap()
        .replace("\"halt\"", "\"twin\"");
    let text = std::fs::read_to_string(&path).unwrap() + PLAYBOOK + "[[playbook]]" + &twin;
    people(&world);
    std::fs::write(&path, text).unwrap();
    world.config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    world.compiled.rules[1].shadow = true;
    let store = world.store().await;
    let keeper = Keeper::new(world.options(), &world.compiled, store.clone(), World::signers())
        .await
        .unwrap();
    let mut keeper = keeper
        .with_approvers(Approvers::new(&world.config.people, world.dir.path()).unwrap())
        .with_config(&world.config);
    let at = keeper.open_console("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(keeper.run(stop.clone()));
    let (client, base) = (reqwest::Client::new(), format!("http://{at}"));
    until("it is well", || async {
        let health = client.get(format!("{base}/health")).send().await.unwrap();
        health.json::<Value>().await.unwrap()["status"] == "well"
    })
    .await;
    let document: Value = client
        .get(format!("{base}/api/openapi.json"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let mut api = Api {
        base,
        client,
        document,
        seen: BTreeSet::new(),
    };
    store
        .raise_alarm(AlarmKind::Behind, "blocks", "a test", Some(1))
        .await
        .unwrap();
    store.clear_alarm(AlarmKind::Behind, "blocks").await.unwrap();
    store
        .raise_alarm(AlarmKind::Polling, "heads", "a test", None)
        .await
        .unwrap();
    world.set(GAUGE, 5_000).await;
    until("two playbooks ask the same", || async {
        store.open_approvals().await.unwrap().len() == 2
    })
    .await;

    api.get("/health").await;
    let status = api.get("/api/status").await;
    assert!(!status["open"].as_array().unwrap().is_empty(), "{status:#}");
    assert_eq!(status["configuration"]["number"], 1, "{status:#}");
    for (path, list) in [
        ("/api/incidents", "incidents"),
        ("/api/approvals", "approvals"),
        ("/api/verdicts", "verdicts"),
        ("/api/alarms", "alarms"),
        ("/api/shadow", "shadowed"),
        ("/api/notices", "notices"),
        ("/api/configurations", "configurations"),
    ] {
        let answer = api.get(path).await;
        assert!(
            !answer[list].as_array().unwrap().is_empty(),
            "{path} shows nothing: {answer}"
        );
    }
    for path in [
        "/api/incidents?limit=0",
        "/api/alarms?limit=0",
        "/api/shadow?limit=0",
        "/api/notices?limit=0",
        "/api/configurations?limit=0",
    ] {
        assert!(api.get(path).await["error"].is_string());
    }
    let incident = api.ask("get", "/api/incidents/{id}", "/api/incidents/1", None).await;
    for list in ["timeline", "transactions", "closed_for_users"] {
        assert!(!incident[list].as_array().unwrap().is_empty(), "{incident:#}");
    }
    let verdicts = api.get("/api/verdicts").await;
    let hash = verdicts["block"].as_str().unwrap();
    for (described, right) in [
        ("/api/incidents/{id}", "1"),
        ("/api/incidents/{id}/playbooks", "1"),
        ("/api/blocks/{hash}/verdicts", hash),
    ] {
        let (before, rest) = described.split_once('{').unwrap();
        let after = rest.split_once('}').unwrap().1;
        let zero = format!("{:#066x}", 0);
        let missing = if described.contains("hash") { &zero } else { "99" };
        for asked in [right, "nonsense", missing] {
            api.ask("get", described, &format!("{before}{asked}{after}"), None)
                .await;
        }
    }

    let path = "/api/approvals";
    let answer = |step: &str| json!({ "incident": 1, "step": step, "approve": true });
    let bob = Some("bob's own token, long enough");
    for (token, body, wanted) in [
        (None, answer("go"), 401),
        (Some(ADA), answer("go"), 409),
        (bob, answer("halt/go"), 403),
        (Some(ADA), answer("nothing"), 404),
        (Some(ADA), json!("{"), 400),
        (Some(ADA), json!({ "incident": "one" }), 422),
        (Some(ADA), answer("halt/go"), 200),
    ] {
        api.ask("post", path, path, Some((token, body))).await;
        let key = (path.to_owned(), "post".to_owned(), wanted);
        assert!(api.seen.contains(&key), "not {wanted}");
    }
    // A body that does not say what it is.
    let plain = api
        .client
        .post(format!("{}{path}", api.base))
        .bearer_auth(ADA)
        .body("{}");
    let plain = plain.send().await.unwrap();
    assert_eq!(plain.status().as_u16(), 415);
    let value: Value = plain.json().await.unwrap();
    let error = json!({ "$ref": "#/components/schemas/Error" });
    let mut found = Vec::new();
    mistakes(&api.document, &error, &value, path, &mut found);
    assert!(found.is_empty(), "{found:#?}");

    world.node.stop().await.unwrap();
    let begun = std::time::Instant::now();
    while api.get("/health").await["status"] != "ill" {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not ill");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What is left cannot be had from this keeper: no block yet, and the status that was seen without the helper.
    assert_eq!(
        api.unseen(),
        [
            "get /api/openapi.json 200",
            "get /api/verdicts 404",
            "post /api/approvals 415"
        ],
        "nobody looked at these"
    );
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[test]
fn the_comparison_finds_what_is_wrong() {
    let document =
        json!({ "part": { "type": "object", "required": ["id"], "properties": { "id": { "type": "integer" } } } });
    let schema = json!({ "allOf": [{ "$ref": "#/part" }, { "type": "object", "required": ["by"], "properties": {
        "by": { "type": ["string", "null"] }, "state": { "type": "string", "enum": ["open"] } } }] });
    let wrong = |value: Value| {
        let mut found = Vec::new();
        mistakes(&document, &schema, &value, "it", &mut found);
        found
    };
    assert!(wrong(json!({ "id": 1, "by": null, "state": "open" })).is_empty());
    assert_eq!(wrong(json!({ "id": 1 })), ["it: by is missing"]);
    assert_eq!(
        wrong(json!({ "id": "1", "by": "ada" })),
        ["it.id: \"1\" is no [\"integer\"]"]
    );
    assert_eq!(
        wrong(json!({ "id": 1, "by": "ada", "more": 1 })),
        ["it.more is not described"]
    );
    assert_eq!(wrong(json!({ "id": 1, "by": "ada", "state": "shut" })).len(), 1);
    // What lists and maps hold.
    let schema = json!({ "type": "object", "properties": {
        "list": { "type": "array", "items": { "$ref": "#/part" } },
        "map": { "type": "object", "additionalProperties": { "type": "integer" } } } });
    let wrong = |value: Value| {
        let mut found = Vec::new();
        mistakes(&document, &schema, &value, "it", &mut found);
        found
    };
    assert!(wrong(json!({ "list": [{ "id": 1 }], "map": { "a": 1, "b": 2 } })).is_empty());
    assert_eq!(
        wrong(json!({ "list": [{ "id": 1 }, {}] })),
        ["it.list[1]: id is missing"]
    );
    assert_eq!(
        wrong(json!({ "map": { "a": 1, "b": "two" } })),
        ["it.map.b: \"two\" is no [\"integer\"]"]
    );
}

#[test]
#[should_panic(expected = "nobody here understands minimum")]
fn a_keyword_that_is_not_looked_at_is_no_promise() {
    let schema = json!({ "type": "integer", "minimum": 1 });
    mistakes(&Value::Null, &schema, &json!(0), "it", &mut Vec::new());
}
