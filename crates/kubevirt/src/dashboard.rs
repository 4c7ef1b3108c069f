//! A Grafana dashboard and Prometheus rules over KubeVirt's own metrics, the agents' and `sterna kubevirt watch`'s.

use serde_json::{Value, json};

use crate::labels;

/// A panel: title, unit, queries with their legends, and what it shows.
struct Panel {
    title: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
    about: &'static str,
}

const PANELS: &[Panel] = &[
    Panel {
        title: "Migrations by phase",
        unit: "none",
        queries: &[
            ("sum(kubevirt_vmi_migrations_in_pending_phase)", "pending"),
            ("sum(kubevirt_vmi_migrations_in_scheduling_phase)", "scheduling"),
            ("sum(kubevirt_vmi_migrations_in_running_phase)", "running"),
        ],
        about: "Pending is the queue behind parallelMigrationsPerCluster and parallelOutboundMigrationsPerNode.",
    },
    Panel {
        title: "Migration start",
        unit: "dateTimeAsIso",
        queries: &[(
            "kubevirt_vmi_migration_start_time_seconds{namespace=~\"$namespace\"} * 1000",
            "{{name}}",
        )],
        about: "When memory began to move; from KubeVirt 1.5 on.",
    },
    Panel {
        title: "Data remaining",
        unit: "bytes",
        queries: &[
            ("kubevirt_vmi_migration_data_remaining_bytes{namespace=~\"$namespace\"}", "{{name}}"),
            ("sterna_migration_remaining_bytes{namespace=~\"$namespace\"}", "{{name}} (launcher)"),
        ],
        about: "A migration converges when its troughs become lower. KubeVirt samples every 5 s.",
    },
    Panel {
        title: "Dirty rate and bandwidth",
        unit: "Bps",
        queries: &[
            (
                "kubevirt_vmi_migration_dirty_memory_rate_bytes{namespace=~\"$namespace\"}",
                "{{name}} dirty rate",
            ),
            (
                "kubevirt_vmi_migration_memory_transfer_rate_bytes{namespace=~\"$namespace\"}",
                "{{name}} bandwidth",
            ),
            (
                "sterna_migration_dirty_rate_bytes_per_second{namespace=~\"$namespace\"}",
                "{{name}} dirty rate (launcher)",
            ),
        ],
        about: "Without post-copy or a pause, a guest whose dirty rate stays above the bandwidth never ends.",
    },
    Panel {
        title: "Iteration",
        unit: "none",
        queries: &[("sterna_migration_iteration{namespace=~\"$namespace\"}", "{{name}}")],
        about: "Told by virt-launcher's log, read by `sterna kubevirt watch --metrics-port`.",
    },
    Panel {
        title: "Convergence: bandwidth / dirty rate",
        unit: "none",
        queries: &[("sterna:migration_convergence:ratio{namespace=~\"$namespace\"}", "{{name}}")],
        about: "Above 1 the passes become shorter; the rule records it.",
    },
    Panel {
        title: "Duration of migrations",
        unit: "s",
        queries: &[("sterna:migration_duration:seconds{namespace=~\"$namespace\"}", "{{name}}")],
        about: "From start to end by KubeVirt's whole-second stamps.",
    },
    Panel {
        title: "Guest throughput (resumption)",
        unit: "ops",
        queries: &[("sterna:guest_page_writes:rate10s{namespace=~\"$namespace\"}", "{{pod}}")],
        about: "Page writes of the agents: the dip is the migration, its end the resumption.",
    },
];

/// A dashboard to import into Grafana.
pub fn grafana() -> Value {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let panels: Vec<Value> = (0..)
        .zip(PANELS)
        .map(|(index, panel)| {
            let targets: Vec<Value> = ('A'..='Z')
                .zip(panel.queries)
                .map(|(letter, (query, legend))| {
                    json!({
                        "refId": letter.to_string(), "expr": query, "legendFormat": legend,
                        "datasource": source,
                    })
                })
                .collect();
            json!({
                "id": index + 1,
                "type": "timeseries",
                "title": panel.title,
                "description": panel.about,
                "datasource": source,
                "gridPos": {"x": index % 2 * 12, "y": index / 2 * 8, "w": 12, "h": 8},
                "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
                "targets": targets,
            })
        })
        .collect();
    json!({
        "title": "Sterna: live migration on KubeVirt",
        "uid": "sterna-kubevirt",
        "tags": ["sterna", "kubevirt"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            {
                "name": "namespace", "label": "Namespace", "type": "query", "datasource": source,
                "query": "label_values(kubevirt_vmi_info, namespace)",
                "includeAll": true, "multi": true, "refresh": 2,
                "current": {"text": "All", "value": "$__all"},
            },
        ]},
        "annotations": {"list": [{
            "name": "Migrations", "enable": true, "iconColor": "blue", "datasource": source,
            "expr": "changes(kubevirt_vmi_migration_start_time_seconds{namespace=~\"$namespace\"}[10s]) > 0",
            "titleFormat": "Migration of {{name}} began",
        }]},
        "panels": panels,
    })
}

/// Rules for the Prometheus operator.
pub fn rules(namespace: &str) -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "sterna-kubevirt",
            "namespace": namespace,
            "labels": {labels::MANAGED_BY: labels::US, labels::ROLE: "rules"},
        },
        "spec": {"groups": [
            {
                "name": "sterna-migration.rules",
                "interval": "5s",
                "rules": [
                    {
                        "record": "sterna:migration_convergence:ratio",
                        "expr": "kubevirt_vmi_migration_memory_transfer_rate_bytes / (kubevirt_vmi_migration_dirty_memory_rate_bytes > 0)",
                    },
                    {
                        "record": "sterna:migration_duration:seconds",
                        "expr": "max by (namespace, name, migration_name) (kubevirt_vmi_migration_end_time_seconds) - max by (namespace, name, migration_name) (kubevirt_vmi_migration_start_time_seconds)",
                    },
                    {
                        "record": "sterna:guest_page_writes:rate10s",
                        "expr": "sum without (worker) (rate(sterna_guest_page_writes_total[10s]))",
                    },
                ],
            },
            {
                "name": "sterna-migration.alerts",
                "rules": [
                    {
                        "alert": "SternaMigrationDoesNotConverge",
                        "expr": "sterna:migration_convergence:ratio < 1",
                        "for": "1m",
                        "labels": {"severity": "warning"},
                        "annotations": {
                            "summary": "{{ $labels.name }} dirties memory faster than it moves",
                            "description": "It will run into its completion timeout; `sterna kubevirt explain {{ $labels.name }}` says what happens then.",
                        },
                    },
                    {
                        "alert": "SternaGuestStandsStill",
                        "expr": "sterna:guest_page_writes:rate10s == 0",
                        "for": "10s",
                        "labels": {"severity": "warning"},
                        "annotations": {
                            "summary": "The workload behind {{ $labels.pod }} made no progress for 10 s",
                        },
                    },
                ],
            },
        ]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_series_that_a_panel_shows_is_recorded_by_a_rule() {
        let rules = rules("monitoring").to_string();
        for panel in PANELS {
            for (query, _) in panel.queries {
                if let Some(name) = query.strip_prefix("sterna:") {
                    let name = name.split('{').next().unwrap();
                    assert!(rules.contains(&format!("\"sterna:{name}\"")), "{name}");
                }
            }
        }
    }

    #[test]
    fn panels_do_not_overlap_and_have_distinct_ids() {
        let dashboard = grafana();
        let places: std::collections::HashSet<String> = dashboard["panels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| format!("{} {}", it["gridPos"]["x"], it["gridPos"]["y"]))
            .collect();
        assert_eq!(places.len(), PANELS.len());
    }
}
