{{/*
What the notes name as missing in the namespace. Without a cluster, as in `helm template`, nothing is
looked up, and Ray's kinds are not known.
*/}}

{{- define "medsweep.preflight" -}}
{{- if and .Values.preflight (.Capabilities.APIVersions.Has "ray.io/v1") }}
{{- $namespace := .Release.Namespace }}
{{- $missing := list }}
{{- if not (contains "/" .Values.image.repository) }}
{{- $missing = append $missing (printf "image: %q names no registry; --set image.repository=REGISTRY/medsweep" .Values.image.repository) }}
{{- end }}
{{- $label := "pod-security.kubernetes.io/enforce" }}
{{- $found := lookup "v1" "Namespace" "" $namespace }}
{{- if ne "restricted" (dig "metadata" "labels" $label "" ($found | default dict)) }}
{{- $missing = append $missing (printf "label: kubectl label namespace %s %s=restricted" $namespace $label) }}
{{- end }}
{{- $claims := list .Values.modelCacheClaim }}
{{- if and (hasPrefix "pvc://" .Values.results) (not .Values.claim.create) }}
{{- $claims = append $claims (trimPrefix "pvc://" .Values.results) }}
{{- end }}
{{- range compact $claims }}
{{- if not (lookup "v1" "PersistentVolumeClaim" $namespace .) }}
{{- $missing = append $missing (printf "claim %s: --set claim.create=true makes that of `results`; it must be ReadWriteMany" .) }}
{{- end }}
{{- end }}
{{- $runs := or .Values.controller.enabled (ne .Values.mode "none") }}
{{- $secrets := dict }}
{{- if and $runs (or .Values.controller.enabled (has .Values.model .Values.huggingFace.gatedModels)) }}
{{- $_ := set $secrets .Values.huggingFace.secret "--from-file=token=FILE   (the hub's token, for gated models)" }}
{{- end }}
{{- if and (not .Values.controller.enabled) (eq .Values.mode "serve") }}
{{- $_ := set $secrets .Values.apiKey.secret "--from-file=api-key=FILE   (at least 16 characters)" }}
{{- end }}
{{- with .Values.resultsSecret }}
{{- $_ := set $secrets . "--from-env-file=FILE   (credentials of the object store)" }}
{{- end }}
{{- range $name, $content := $secrets }}
{{- if not (lookup "v1" "Secret" $namespace $name) }}
{{- $missing = append $missing (printf "secret: kubectl -n %s create secret generic %s %s" $namespace $name $content) }}
{{- end }}
{{- end }}
{{- with .Values.image.pullSecret }}
{{- if not (lookup "v1" "Secret" $namespace .) }}
{{- $missing = append $missing (printf "secret: kubectl -n %s create secret docker-registry %s ..." $namespace .) }}
{{- end }}
{{- end }}
{{- $accounts := list }}
{{- if not .Values.serviceAccount.create }}
{{- $accounts = append $accounts .Values.serviceAccount.name }}
{{- end }}
{{- if and .Values.controller.enabled (not .Values.controller.serviceAccount.create) }}
{{- $accounts = append $accounts .Values.controller.serviceAccount.name }}
{{- end }}
{{- range $accounts }}
{{- if not (lookup "v1" "ServiceAccount" $namespace .) }}
{{- $missing = append $missing (printf "account %s: kubectl apply -k k8s/base, or let this release create it" .) }}
{{- end }}
{{- end }}
{{- if $missing }}
Namespace {{ $namespace }} lacks what this release needs:
{{ range $missing }}
  {{ . }}
{{- end }}
{{ end }}
{{- end }}
{{- end }}
