{{/* Names and labels. KubeRay accepts at most 47 characters. */}}

{{- define "medsweep.labels" -}}
app.kubernetes.io/name: medsweep
app.kubernetes.io/part-of: medsweep
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "medsweep.stageLabels" -}}
medsweep.io/sweep: {{ .Values.sweep.name }}
medsweep.io/stage: {{ .Values.mode }}
medsweep.io/profile: {{ .Values.profile.name }}
{{- end }}

{{/* KubeRay sets app.kubernetes.io/name itself, and selects a job's head by it. */}}
{{- define "medsweep.podLabels" -}}
app.kubernetes.io/part-of: medsweep
app.kubernetes.io/instance: {{ .Release.Name }}
{{ include "medsweep.stageLabels" . }}
{{- end }}

{{/*
KubeRay ignores changes of a job's spec, so another spec needs another name. Values that do not change
what runs, such as those of monitoring, leave the name and so the job alone.
*/}}
{{- define "medsweep.stageName" -}}
{{- $prefix := get (dict "finetune" "ft" "benchmark" "bm" "serve" "sv") .Values.mode -}}
{{- $spec := include (eq .Values.mode "serve" | ternary "medsweep.serviceSpec" "medsweep.jobSpec") . -}}
{{- $end := printf "-%s-%s-%s" $prefix .Values.profile.name (list (fromYaml $spec) .Values.queue | toJson | sha256sum | trunc 8) -}}
{{- $start := .Release.Name | replace "." "-" | trunc (sub 47 (len $end) | int) | trimSuffix "-" -}}
{{- regexMatch "^[a-z]" $start | ternary $start (printf "m%s" $start | trunc (sub 47 (len $end) | int)) -}}
{{- $end -}}
{{- end }}

{{- define "medsweep.image" -}}
{{- $digest := get .root.Values.image.digests .family -}}
{{- if $digest -}}
{{ .root.Values.image.repository }}@{{ $digest }}
{{- else -}}
{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}-{{ .family }}
{{- end -}}
{{- end }}

{{- define "medsweep.out" -}}
{{- hasPrefix "pvc://" .Values.results | ternary "/results" (trimSuffix "/" .Values.results) -}}
{{- end }}

{{/* The sweep, reduced to the one cell of model and profile. */}}
{{- define "medsweep.sweep" -}}
{{- $finetune := merge (dict "profile" .Values.profile.name) (.Values.sweep.finetune | default dict) -}}
{{- $cells := list (printf "%s@%s" .Values.model .Values.profile.name) -}}
{{- merge (dict "cells" $cells "finetune" $finetune) .Values.sweep | toJson -}}
{{- end }}
