{{- define "opb.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "opb.labels" -}}
app.kubernetes.io/name: openpromptbank
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "opb.chartLabels" -}}
{{ include "opb.labels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* What every process is told. */}}
{{- define "opb.settings" -}}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ .Values.secret.name }}, key: {{ .Values.secret.databaseUrlKey }}}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* What the processes are told that seal or sign. */}}
{{- define "opb.masterKey" -}}
- name: OPB_MASTER_KEY
  valueFrom:
    secretKeyRef: {name: {{ .Values.secret.name }}, key: {{ .Values.secret.masterKeyKey }}}
{{- with .Values.secret.previousMasterKeyKey }}
- name: OPB_PREVIOUS_MASTER_KEY
  valueFrom:
    secretKeyRef: {name: {{ $.Values.secret.name }}, key: {{ . }}}
{{- end }}
{{- end }}

{{- /* What every pod may do: nothing that a program of ours does not need. */}}
{{- define "opb.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "opb.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* A process is alive when it answers, and ready when its database does too. */}}
{{- define "opb.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: monitor}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /healthz, port: monitor}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: monitor}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{- define "opb.podAnnotations" -}}
{{- if not .Values.monitoring.podMonitor }}
prometheus.io/scrape: "true"
prometheus.io/port: "9100"
prometheus.io/path: /metrics
{{- end }}
{{- end }}
