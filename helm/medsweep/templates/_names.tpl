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
KubeRay ignores changes of what a running job runs, so another job needs another name: a digest of that.
What KubeRay reads at each step, and what no job sees, such as monitoring, leaves the name alone. A
served model keeps its name, because KubeRay replaces its cluster.
*/}}
{{- define "medsweep.stageName" -}}
{{- $end := "-medsweep" -}}
{{- if ne .Values.mode "serve" -}}
{{- $prefix := get (dict "finetune" "ft" "benchmark" "bm") .Values.mode -}}
{{- $spec := omit (include "medsweep.jobSpec" . | fromYaml) "backoffLimit" "preRunningDeadlineSeconds" "activeDeadlineSeconds" "ttlSecondsAfterFinished" -}}
{{- $end = printf "-%s-%s-%s" $prefix .Values.profile.name (list $spec .Values.queue | toJson | sha256sum | trunc 8) -}}
{{- end -}}
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
