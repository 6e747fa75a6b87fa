{{/* Pod templates: what every pod of a job has. */}}

{{- define "medsweep.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "medsweep.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* root, gpu; and for a pod that talks to the API server: account, token */}}
{{- define "medsweep.podSpec" -}}
serviceAccountName: {{ .account | default .root.Values.serviceAccount.name }}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
securityContext:
  {{- include "medsweep.podSecurity" . | nindent 2 }}
nodeSelector:
  medsweep.io/gpu: {{ .gpu }}
{{- with .root.Values.image.pullSecret }}
imagePullSecrets:
  - name: {{ . }}
{{- end }}
{{- if or (ne .gpu "none") .root.Values.tolerations }}
tolerations:
  {{- if ne .gpu "none" }}
  - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
  - {key: medsweep.io/gpu, operator: Equal, value: {{ .gpu }}, effect: NoSchedule}
  {{- end }}
  {{- range .root.Values.tolerations }}
  - {{ merge (dict) . (dict "operator" "Equal") | toJson }}
  {{- end }}
{{- end }}
{{- end }}

{{/* A measurement whose pod is moved is lost. */}}
{{- define "medsweep.podAnnotations" -}}
cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
karpenter.sh/do-not-disrupt: "true"
{{- end }}

{{/* root, name, family */}}
{{- define "medsweep.container" -}}
{{- $image := include "medsweep.image" . -}}
name: {{ .name }}
image: {{ $image }}
imagePullPolicy: IfNotPresent
securityContext:
  {{- include "medsweep.containerSecurity" . | nindent 2 }}
{{- with .root.Values.resultsSecret }}
envFrom:
  - secretRef:
      name: {{ . }}
{{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: cache, mountPath: /cache}
  {{- if hasPrefix "pvc://" .root.Values.results }}
  - {name: results, mountPath: /results}
  {{- end }}
{{- end }}

{{- define "medsweep.apiKey" -}}
- name: MEDSWEEP_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.apiKey.secret }}
      key: api-key
{{- end }}

{{- define "medsweep.env" -}}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
- {name: RAY_worker_niceness, value: "0"}
- {name: RAY_enable_worker_prestart, value: "0"}
- {name: RAY_prestart_worker_first_driver, value: "0"}
- {name: TOKENIZERS_PARALLELISM, value: "false"}
- {name: REPORTER_UPDATE_INTERVAL_MS, value: "60000"}
- {name: OMP_WAIT_POLICY, value: PASSIVE}
- {name: RAY_COLOR_PREFIX, value: "0"}
- {name: HOME, value: /tmp}
- {name: HF_HOME, value: /cache/huggingface}
- {name: HF_HUB_DISABLE_TELEMETRY, value: "1"}
- {name: MEDSWEEP_CACHE, value: /cache/medsweep}
{{- if not (hasPrefix "pvc://" .Values.results) }}
{{- if not .Values.modelCacheClaim }}
{{- fail "results: an object store needs a modelCacheClaim too, through which head and worker share their files" }}
{{- end }}
# All pods of a job share its copy of the object store's folders.
- {name: TMPDIR, value: /cache}
{{- end }}
{{- end }}

{{- define "medsweep.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.scratchGi }}Gi
- name: cache
  {{- if .Values.modelCacheClaim }}
  persistentVolumeClaim:
    claimName: {{ .Values.modelCacheClaim }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.scratchGi }}Gi
  {{- end }}
{{- if hasPrefix "pvc://" .Values.results }}
- name: results
  persistentVolumeClaim:
    claimName: {{ trimPrefix "pvc://" .Values.results }}
{{- end }}
{{- end }}

{{/* Requests equal to limits, so that the pod gets exactly these amounts. */}}
{{- define "medsweep.exactly" -}}
requests:
  {{- toYaml . | nindent 2 }}
limits:
  {{- toYaml . | nindent 2 }}
{{- end }}
