use super::*;
use crate::clock::Timestamp;
use crate::tenant::TenantName;

fn plugin(versions: &[&str], pinned: Option<&str>) -> Plugin {
    let version = |text: &&str| PluginVersion {
        version: text.parse().unwrap(),
        digest: Digest::of(text.as_bytes()),
        size_bytes: 1,
        created_at: Timestamp::UNIX_EPOCH,
        inspection: Inspection {
            abi: Abi::WasiCommandP1,
            imports: vec![],
            exports: vec![],
            entrypoints: vec![],
            minimum_memory_bytes: 0,
        },
    };
    Plugin {
        tenant: TenantName::default(),
        name: "p".parse().unwrap(),
        settings: PluginSettings {
            default_version: pinned.map(|v| v.parse().unwrap()),
            ..PluginSettings::default()
        },
        versions: versions.iter().map(version).collect(),
    }
}

fn selected(plugin: &Plugin, reference: &str) -> Option<String> {
    let reference: PluginRef = reference.parse().unwrap();
    plugin.select(&reference.selector).map(|v| v.version.to_string())
}

#[test]
fn a_reference_selects_its_version() {
    let plugin = plugin(&["1.0.0", "1.10.0", "1.9.9", "2.0.0-rc.1", "sha-0123456789ab"], None);
    let digest = Digest::of(b"1.9.9");
    for (reference, version) in [
        ("p", Some("sha-0123456789ab")),
        ("p@1", Some("1.10.0")),
        ("p@1.9", Some("1.9.9")),
        ("p@1.0.0", Some("1.0.0")),
        ("p@2", None),
        ("p@2.0.0-rc.1", Some("2.0.0-rc.1")),
        ("p@sha-0123456789ab", Some("sha-0123456789ab")),
        ("p@3.0.0", None),
    ] {
        assert_eq!(selected(&plugin, reference).as_deref(), version, "{reference}");
    }
    assert_eq!(selected(&plugin, &format!("p@{digest}")).as_deref(), Some("1.9.9"));
}

#[test]
fn a_bare_name_is_the_pinned_version_if_there_is_one() {
    assert_eq!(
        selected(&plugin(&["1.0.0", "2.0.0"], Some("1.0.0")), "p").as_deref(),
        Some("1.0.0")
    );
}

#[test]
fn invalid_references_are_refused_and_valid_ones_round_trip() {
    for good in ["p", "p@1", "p@1.2", "p@1.2.3", "p@1.2.3-rc.1+x", "p@sha-0123456789ab"] {
        assert_eq!(good.parse::<PluginRef>().map(|r| r.to_string()).as_deref(), Ok(good));
    }
    for bad in ["", "@1", "p@", "p@x", "p@01", "p@1.", "p@1.2.3.4", "P", "p@sha256:00", "p@sha-xyz"]
    {
        assert!(bad.parse::<PluginRef>().is_err(), "{bad}");
    }
}
