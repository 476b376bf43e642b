//! `cordon limiter` from outside, on a node with a guard: deployed, read, loosened after its announcement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::path::Path;

use alloy::providers::ext::AnvilApi;
use common::{Chain, GOVERNOR, GUARDIAN, deploy, failure, run};

struct Cli {
    chain: Chain,
    config: String,
    limiter: String,
}

impl Cli {
    /// A guard and a limiter, both deployed by the command.
    async fn start() -> Self {
        let chain = Chain::start().await;
        let path = chain.write_config(|text| text);
        let config = path.to_str().unwrap().to_owned();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let (root, governor) = (root.to_str().unwrap(), GOVERNOR.to_string());
        let common = ["--config", &config, "--root", root, "--unlocked", &governor];
        let deploy = |words: &[&str]| run(&[words, &common].concat());
        let missing = failure(&deploy(&["limiter", "deploy", "--delay", "1 day"]));
        assert!(
            missing.contains("deploy the guard with `cordon guard deploy`"),
            "{missing}"
        );
        let output = deploy(&["guard", "deploy", "--no-seal", "--write"]);
        assert!(output.status.success(), "{output:?}");
        let long = failure(&deploy(&["limiter", "deploy", "--delay", "8 days"]));
        assert!(long.contains("BadDelay"), "{long}");
        let output = deploy(&["limiter", "deploy", "--delay", "1 day"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("(deployed)"), "{text}");
        let limiter = text.split_whitespace().nth(1).unwrap().to_owned();
        let again = String::from_utf8(deploy(&["limiter", "deploy", "--delay", "1 day"]).stdout).unwrap();
        assert!(again.contains("(found)") && again.contains(&limiter), "{again}");
        Self { chain, config, limiter }
    }

    fn command(&self, who: &str, verb: &str, words: &[&str]) -> std::process::Output {
        let mut all = vec!["limiter", verb, "--config", &self.config];
        if verb != "status" {
            all.extend(["--unlocked", who]);
        }
        all.push(&self.limiter);
        run(&[&all[..], words].concat())
    }

    fn ok(&self, who: &str, verb: &str, words: &[&str]) -> String {
        let output = self.command(who, verb, words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn status(&self) -> String {
        self.ok("", "status", &[])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limiter_is_deployed_set_looked_at_and_loosened_after_its_announcement() {
    let cli = Cli::start().await;
    let (governor, guardian) = (GOVERNOR.to_string(), GUARDIAN.to_string());
    let limit = |units: &'static str| {
        [
            "pool", "native", "--units", units, "--period", "1 day", "--scope", "protocol",
        ]
    };
    let shown = cli.status();
    assert!(shown.contains("as configured") && shown.contains("1 day"), "{shown}");
    let refused = failure(&cli.command(&guardian, "set", &limit("5e18")));
    assert!(refused.contains("NotGovernor"), "{refused}");
    let unknown = failure(&cli.command(&governor, "remove", &["pol", "native"]));
    assert!(unknown.contains("did you mean `pool`?"), "{unknown}");
    cli.ok(&governor, "set", &limit("5e18"));
    let shown = cli.status();
    assert!(
        shown.contains("native for pool, class 0: 5000000000000000000 units in 1 day")
            || shown.contains("native for pool, class 0: 49999999"),
        "{shown}"
    );
    // A guardian's hold, shown with its end, and taken back.
    cli.ok(&guardian, "hold", &["pool", "native", "quarter"]);
    let shown = cli.status();
    assert!(
        shown.contains("guardians for") && shown.contains("a quarter"),
        "{shown}"
    );
    cli.ok(&guardian, "hold", &["pool", "native", "none"]);

    // Sealed, what loosens waits for its announcement.
    let config = Path::new(&cli.config);
    cli.chain
        .grant(cordon_client::Config::load(config).unwrap().guard.address.unwrap())
        .await;
    let output = deploy(config, &[]);
    assert!(output.status.success(), "{output:?}");
    let refused = failure(&cli.command(&governor, "set", &limit("6e18")));
    assert!(refused.contains("NotAnnounced"), "{refused}");
    let remove = ["pool", "native"];
    let announced = cli.ok(&governor, "remove", &[&remove[..], &["--announce"]].concat());
    assert!(announced.contains("is announced"), "{announced}");
    let hash = announced
        .rsplit_once("action hash ")
        .unwrap()
        .1
        .trim()
        .trim_end_matches(')');
    let early = failure(&cli.command(&governor, "remove", &remove));
    assert!(early.contains("AnnouncementPending"), "{early}");
    cli.ok(&guardian, "cancel", &[hash]);
    let cancelled = failure(&cli.command(&governor, "remove", &remove));
    assert!(cancelled.contains("NotAnnounced"), "{cancelled}");
    cli.ok(&governor, "remove", &[&remove[..], &["--announce"]].concat());
    let provider = &cli.chain.provider;
    provider.anvil_increase_time(3 * 86_400).await.unwrap();
    provider.anvil_mine(Some(1), None).await.unwrap();
    cli.ok(&governor, "remove", &remove);
    assert!(cli.status().contains("taken away"));
    let nothing = failure(&cli.command(&governor, "release", &["1"]));
    assert!(nothing.contains("NoSuchItem"), "{nothing}");
}
