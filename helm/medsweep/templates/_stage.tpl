{{/* What the stages run: the spec of a RayJob or a RayService. */}}

{{- define "medsweep.jobSpec" -}}
{{- $deadline := get .Values.deadlines .Values.mode }}
{{- if le (int $deadline) (int .Values.deadlines.start) }}
{{- fail (printf "deadlines.%s must be greater than deadlines.start, which it includes" .Values.mode) }}
{{- end -}}
entrypoint: python /opt/medsweep/jobs/{{ .Values.mode }}.py --out {{ include "medsweep.out" . }}{{ if eq .Values.mode "benchmark" }} --metrics-port 9464{{ end }}
submissionMode: K8sJobMode
backoffLimit: {{ .Values.backoffLimit }}
preRunningDeadlineSeconds: {{ int .Values.deadlines.start }}
activeDeadlineSeconds: {{ int $deadline }}
shutdownAfterJobFinishes: true
ttlSecondsAfterFinished: {{ int .Values.ttlSeconds }}
# A restarted submitter first checks whether its job already exists.
submitterConfig:
  backoffLimit: 2
submitterPodTemplate:
  metadata:
    labels:
      {{- include "medsweep.podLabels" . | nindent 6 }}
      medsweep.io/role: submitter
  spec:
    {{- include "medsweep.podSpec" (dict "root" . "gpu" "none") | nindent 4 }}
    restartPolicy: Never
    containers:
      - name: ray-job-submitter
        image: {{ include "medsweep.image" (dict "root" . "family" "cpu") }}
        env:
          - {name: HOME, value: /tmp}
        resources:
          {{- include "medsweep.exactly" (dict "cpu" "500m" "memory" "512Mi") | nindent 10 }}
        securityContext:
          {{- include "medsweep.containerSecurity" . | nindent 10 }}
        volumeMounts:
          - {name: tmp, mountPath: /tmp}
    volumes:
      - name: tmp
        emptyDir:
          sizeLimit: 1Gi
rayClusterSpec:
  {{- include "medsweep.cluster" . | nindent 2 }}
{{- end }}

{{- define "medsweep.serviceSpec" -}}
# Another spec starts a second cluster, which takes over when it answers.
upgradeStrategy:
  type: NewCluster
# The longest answer of the first one.
rayClusterDeletionDelaySeconds: 300
serveConfigV2: |
  {{- $arguments := dict "cell" (printf "%s@%s" .Values.model .Values.profile.name) "out" (include "medsweep.out" .) }}
  {{- $application := dict "name" "medsweep" "route_prefix" "/" "import_path" "jobs.serve:application" "args" $arguments }}
  {{- $http := dict "host" "0.0.0.0" "port" 8000 }}
  {{- /* KubeRay probes each worker's own proxy (kuberay#4994). */}}
  {{- dict "proxy_location" "EveryNode" "http_options" $http "applications" (list $application) | toPrettyJson | nindent 2 }}
rayClusterConfig:
  {{- include "medsweep.cluster" . | nindent 2 }}
{{- end }}
