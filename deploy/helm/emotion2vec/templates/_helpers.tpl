{{/* Names and labels. A component is "triton" or "gateway"; these take a list of it and the root. */}}
{{- define "name" -}}
{{- $component := index . 0 }}{{ $root := index . 1 -}}
{{ printf "%s-%s" ($root.Release.Name | trunc 50 | trimSuffix "-") $component }}
{{- end }}

{{- define "selector" -}}
{{- $component := index . 0 }}{{ $root := index . 1 -}}
{ app.kubernetes.io/name: emotion2vec, app.kubernetes.io/instance: {{ $root.Release.Name }}, app.kubernetes.io/component: {{ $component }} }
{{- end }}

{{- define "labels" -}}
{{- $root := index . 1 -}}
{{ include "selector" . | fromYaml | toYaml }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{- define "metadata" -}}
name: {{ include "name" . }}
labels: {{- include "labels" . | nindent 2 }}
{{- end }}

{{- define "image" -}}
{{- $component := index . 0 }}{{ $root := index . 1 -}}
{{ $root.Values.image.registry }}/{{ $component }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end }}

{{/* What both pods have in common. */}}
{{- define "pod" -}}
{{- $root := index . 1 -}}
automountServiceAccountToken: false
# Kubernetes would add variables such as E2V_TRITON_PORT, and the gateway refuses unknown ones.
enableServiceLinks: false
{{- with $root.Values.image.pullSecret }}
imagePullSecrets: [{ name: {{ . }} }]
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile: { type: RuntimeDefault }
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: { matchLabels: {{ include "selector" $ }} }
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}

{{- define "confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- define "pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{- include "metadata" . | nindent 2 }}
spec:
  # A single replica can be drained, too.
  maxUnavailable: 1
  selector: { matchLabels: {{ include "selector" . }} }
{{- end }}

{{/* A value as an environment variable: Helm reads every number as a float, and would write 1e+07. */}}
{{- define "setting" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . | toString | quote }}
{{- else }}{{ toString . | quote }}{{ end }}
{{- end }}

{{/* Seconds, for the ends of pods. */}}
{{- define "timeout" -}}{{ ceil .Values.gateway.settings.timeout | int }}{{- end }}

{{/*
The share of its time at the encoder that a clip waits there: 0 without load, and 0.5 when it waits
as long as it is computed. Triton's own delay of 2 ms, in which a batch fills on a GPU, is no load.
Nothing if Prometheus has no counters, so that a gap in its data scales nothing down.
*/}}
{{- define "waiting" -}}
{{- $pods := printf "{model=\"encoder\",namespace=\"%s\",service=\"%s\"}" .Release.Namespace (include "name" (list "triton" .)) -}}
{{- $rate := "sum(rate(nv_inference_%s%s[30s]))" -}}
{{- $queue := printf $rate "queue_duration_us" $pods -}}
{{- $compute := printf $rate "compute_infer_duration_us" $pods -}}
{{- $requests := printf $rate "request_success" $pods -}}
1 - {{ $compute }} / (clamp_min({{ $queue }} - 2000 * {{ $requests }}, 0) + {{ $compute }} > 0) or 0 * {{ $compute }}
{{- end }}
