{{/*
The Ray cluster of a stage: a head without CPUs, one worker with the profile's hardware, and for a load
of several shards a pod of the CPU pool for each.
*/}}

{{/* name, replicas */}}
{{- define "medsweep.group" -}}
groupName: {{ .name }}
replicas: {{ .replicas }}
minReplicas: {{ .replicas }}
maxReplicas: {{ .replicas }}
# The operator adds this field if it is missing, and so becomes the owner of the list: the next
# upgrade would then conflict with it.
scaleStrategy: {}
rayStartParams:
  disable-usage-stats: "true"
{{- end }}

{{/* role: no node is shared with its pods */}}
{{- define "medsweep.apartFrom" -}}
podAntiAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - labelSelector:
        matchLabels:
          medsweep.io/role: {{ .role }}
      topologyKey: kubernetes.io/hostname
{{- end }}

{{/* Variables of every pod of a stage. */}}
{{- define "medsweep.stageEnv" -}}
{{ include "medsweep.env" . }}
{{- if ne .Values.mode "serve" }}
# A job that is over has no requests for which Ray should wait up to 30 s, holding its GPUs.
- {name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S, value: "0"}
{{- end }}
{{- end }}

{{- define "medsweep.cluster" -}}
{{- $values := .Values -}}
{{- $profile := .Values.profile -}}
{{- $image := include "medsweep.image" (dict "root" . "family" $profile.imageFamily) -}}
rayVersion: 2.60.0
# Whoever can call Ray can run code in it. The operator makes a Secret with a random token and gives
# it to the pods of this cluster and to the submitter.
authOptions:
  mode: token
headGroupSpec:
  serviceType: ClusterIP
  # A webhook that writes complete objects would turn a missing map into null, which is refused.
  rayStartParams:
    disable-usage-stats: "true"
  # Nothing that is measured may run on the head.
  resources:
    CPU: "0"
  labels:
    medsweep.io/role: head
  template:
    metadata:
      labels:
        {{- include "medsweep.podLabels" . | nindent 8 }}
        medsweep.io/role: head
      annotations:
        {{- include "medsweep.podAnnotations" . | nindent 8 }}
        {{- if eq $values.mode "serve" }}
        # If only Serve's own config changed, KubeRay would restart the model in place.
        medsweep.io/results: {{ include "medsweep.out" . }}
        {{- end }}
    spec:
      {{- include "medsweep.podSpec" (dict "root" . "gpu" "none") | nindent 6 }}
      containers:
        - {{- include "medsweep.container" (dict "root" . "name" "ray-head" "family" "cpu") | nindent 10 }}
          env:
            {{- include "medsweep.stageEnv" . | nindent 12 }}
            # The head writes the rows, which name the image that was measured: the worker's.
            - {name: MEDSWEEP_IMAGE_DIGEST, value: {{ $image | quote }}}
            - name: MEDSWEEP_SWEEP
              value: {{ include "medsweep.sweep" . | quote }}
            {{- if eq $values.mode "serve" }}
            {{- include "medsweep.apiKey" . | nindent 12 }}
            {{- end }}
          resources:
            {{- $resources := dict "cpu" ($values.head.cpus | toString) "memory" (printf "%dGi" (int $values.head.memoryGi)) }}
            {{- include "medsweep.exactly" $resources | nindent 12 }}
          ports:
            - {name: gcs-server, containerPort: 6379}
            - {name: client, containerPort: 10001}
            - {name: dashboard, containerPort: 8265}
            - {name: as-metrics, containerPort: 44217}
            - {name: dash-metrics, containerPort: 44227}
            {{- if eq $values.mode "serve" }}
            - {name: serve, containerPort: 8000}
            {{- else }}
            - {name: medsweep, containerPort: 9464}
            {{- end }}
      volumes:
        {{- include "medsweep.volumes" . | nindent 8 }}
workerGroupSpecs:
  - {{- include "medsweep.group" (dict "name" (gt (int $profile.gpus) 0 | ternary "gpu" "cpu") "replicas" 1) | nindent 4 }}
    resources:
      CPU: {{ $profile.cpus | quote }}
      {{- if $profile.gpus }}
      GPU: {{ $profile.gpus | quote }}
      {{- end }}
    labels:
      medsweep.io/profile: {{ $profile.name }}
      medsweep.io/gpu: {{ $profile.gpu }}
      medsweep.io/role: worker
    template:
      metadata:
        labels:
          {{- include "medsweep.podLabels" . | nindent 10 }}
          medsweep.io/role: worker
        annotations:
          {{- include "medsweep.podAnnotations" . | nindent 10 }}
      spec:
        {{- include "medsweep.podSpec" (dict "root" . "gpu" $profile.gpu) | nindent 8 }}
        {{- if and $profile.gpus $values.runtimeClassName }}
        runtimeClassName: {{ $values.runtimeClassName }}
        {{- end }}
        {{- if not $profile.gpus }}
        # It shares the CPU pool with the load generators, but must not share a node with one.
        affinity:
          {{- include "medsweep.apartFrom" (dict "role" "head") | nindent 10 }}
        {{- end }}
        containers:
          - {{- include "medsweep.container" (dict "root" . "name" "ray-worker" "family" $profile.imageFamily) | nindent 12 }}
            env:
              {{- include "medsweep.stageEnv" . | nindent 14 }}
              - {name: MEDSWEEP_IMAGE_DIGEST, value: {{ $image | quote }}}
              {{- if has $values.model $values.huggingFace.gatedModels }}
              - name: HF_TOKEN
                valueFrom:
                  secretKeyRef:
                    name: {{ $values.huggingFace.secret }}
                    key: token
              {{- end }}
            resources:
              {{- $resources := dict "cpu" ($profile.cpus | toString) "memory" (printf "%dGi" (int $profile.memoryGi)) }}
              {{- if $profile.gpus }}
              {{- $_ := set $resources "nvidia.com/gpu" ($profile.gpus | toString) }}
              {{- end }}
              {{- include "medsweep.exactly" $resources | nindent 14 }}
        volumes:
          {{- include "medsweep.volumes" . | nindent 10 }}
  {{- $shards := dig "load" "shards" 1 $values.sweep | int }}
  {{- if and (eq $values.mode "benchmark") (gt $shards 1) }}
  - {{- include "medsweep.group" (dict "name" "load" "replicas" $shards) | nindent 4 }}
    resources:
      CPU: "1"
    labels:
      medsweep.io/gpu: none
      medsweep.io/role: load
    template:
      metadata:
        labels:
          {{- include "medsweep.podLabels" . | nindent 10 }}
          medsweep.io/role: load
        annotations:
          {{- include "medsweep.podAnnotations" . | nindent 10 }}
      spec:
        {{- include "medsweep.podSpec" (dict "root" . "gpu" "none") | nindent 8 }}
        # What is measured is in the same pool on a profile without GPUs.
        affinity:
          {{- include "medsweep.apartFrom" (dict "role" "worker") | nindent 10 }}
        containers:
          - {{- include "medsweep.container" (dict "root" . "name" "ray-worker" "family" "cpu") | nindent 12 }}
            env:
              {{- include "medsweep.stageEnv" . | nindent 14 }}
            resources:
              {{- include "medsweep.exactly" (dict "cpu" "2" "memory" "4Gi") | nindent 14 }}
        volumes:
          {{- include "medsweep.volumes" . | nindent 10 }}
  {{- end }}
{{- end }}
