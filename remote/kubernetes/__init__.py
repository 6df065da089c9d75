"""A run as manifests of Kubernetes, from the same cluster.toml: `motley export kubernetes`.

`pods` says which pods there are, `checks` what can't be right, `pod_template` and `documents` build the tables,
`yaml_text` writes them with their comments, `manifests` puts all of it together. Nothing here speaks to a cluster.
"""
