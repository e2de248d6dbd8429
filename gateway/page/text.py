"""Every sentence of the page, in both languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Language = Literal["en", "zh"]


@dataclass(frozen=True)
class Text:
    """The page's words in one language; {braces} are filled in where they are used."""

    language: Language
    html_language: str
    title: str
    subtitle: str
    other_name: str
    other_path: str
    audio: str
    limits: str
    granularity: str
    utterance: str
    frame: str
    embedding: str
    recognise: str
    examples: str
    result: str
    empty: str
    stages: dict[str, str]
    busy: str
    confidence: str
    scores: str
    course: str
    downloads: str
    files: dict[str, str]
    json: str
    log: str
    log_lines: tuple[tuple[str, str], ...]
    history: str
    history_empty: str
    random_banner: str
    random_chip: str
    not_ready_banner: str
    foot: str
    foot_weights: dict[str, str]
    foot_license: str
    no_file: str
    error: str
    problems: dict[str, str]
    timeline: dict[str, str]
    clip_tab: str
    recording_tab: str
    recording: dict[str, Any]


ENGLISH = Text(
    language="en",
    html_language="en",
    title="Speech emotion recognition",
    subtitle="Emotion2Vec+ on NVIDIA Triton: nine emotions, for a whole recording or every 20 ms.",
    other_name="中文",
    other_path="/zh/",
    audio="Recording",
    limits="WAV, MP3, M4A, FLAC or OGG · 25 ms to 30 s · up to {megabytes} MB",
    granularity="Granularity",
    utterance="Utterance: one result for the whole recording; best from 3 to 10 s",
    frame="Frame: a result every 20 ms as well, to see how the emotion moves",
    embedding="Also give the embedding (numbers that describe the voice, for your own analysis)",
    recognise="🎯 Recognise",
    examples="Examples (synthetic voices)",
    result="Result",
    empty="Choose or record a clip on the left, then press 🎯.",
    stages={
        "decode": "Reading the recording …",
        "recognise": "Recognising …",
        "save": "Saving …",
    },
    busy="{stage} {seconds:.1f} s",
    confidence="confidence",
    scores="All nine emotions",
    course="Emotion over time",
    downloads="Downloads",
    files={
        "processed_audio.wav": "Audio as the model heard it (WAV)",
        "result.json": "Result (JSON)",
        "embedding.npy": "Embedding (NumPy)",
    },
    json="Result as JSON",
    log="Processing log",
    log_lines=(
        ("File", "{filename}"),
        ("Length", "{duration:.2f} s"),
        ("Sample rate", "{sample_rate} Hz → 16000 Hz, mono"),
        ("Model", "{model} ({weights} weights, {precision})"),
        ("Reading", "{decode:.0f} ms"),
        ("Recognising", "{recognise:.0f} ms"),
        ("Finished", "{timestamp}"),
        ("Saved in", "{output_dir}"),
    ),
    history="Last results",
    history_empty="Results of this session will be listed here.",
    random_banner="⚠ This server runs RANDOM weights: the scores mean nothing. "
    "Export a real checkpoint with “make export”.",
    random_chip="random weights: means nothing",
    not_ready_banner="The model is not ready yet. Recognition works as soon as it is.",
    foot="Model: {checkpoint}, {weights}, {precision}",
    foot_weights={
        "published": "published weights",
        "other": "weights other than the published ones",
        "unknown": "pretrained weights",
        "random": "random weights",
    },
    foot_license="Licence of the weights: {license}",
    no_file="Choose or record a clip first.",
    error="That did not work",
    problems={},
    timeline={
        "chart": "Chart",
        "stacked": "stacked",
        "lines": "lines",
        "smoothing": "Smoothing",
        "seconds": "s",
        "description": "Scores of nine emotions over time; the arrow keys move the position",
        "hint": "Click the picture to hear that place.",
    },
    clip_tab="Clip (up to 30 s)",
    recording_tab="Long recording",
    recording={
        "choose": "Drop a long recording here, or click to choose one",
        "limits": "A call, an interview, a lesson · WAV, MP3, M4A, FLAC or OGG · up to "
        "{hours} hours and {megabytes} MB",
        "cut": "Cut",
        "vad": "at the pauses of speech",
        "fixed": "in windows of equal length",
        "window": "Seconds",
        "hop": "every",
        "embedding": "Also give the embeddings",
        "start": "🎯 Recognise the course of emotion",
        "progress": "Progress",
        "uploading": "Uploading …",
        "working": "Recognising …",
        "cancel": "Cancel",
        "cancelled": "Cancelled.",
        "gone": "The server cannot be reached. Trying again …",
        "error": "That did not work",
        "too_large": "The file has more than {megabytes} MB: use a compressed format such as MP3.",
        "silent": "No speech",
        "facts": "{speech} % of {length} is speech, in {count} segments",
        "random": "random weights: means nothing",
        "zoom": "Zoom",
        "description": "Emotions through the recording; the arrow keys go from segment to segment",
        "unheard": "Choose the same file again to hear it: the server does not keep it.",
        "unplayable": "This browser cannot play the file; the times are right all the same.",
        "hint": "Click a segment to hear it.",
        "negative": "Longest negative stretch:",
        "turns": "Turning points",
        "table": "Segments",
        "columns": ["Start", "End", "Emotion", "Confidence", "Speech"],
        "files": {
            "result.json": "Result (JSON)",
            "embedding.npy": "Embeddings (NumPy)",
            "timeline.csv": "Table (CSV)",
            "timeline.srt": "Subtitles (SRT)",
            "timeline.vtt": "Subtitles (WebVTT)",
        },
        "problems": {},
    },
)

CHINESE = Text(
    language="zh",
    html_language="zh-CN",
    title="语音情感识别",
    subtitle="基于 Emotion2Vec+ 与 NVIDIA Triton：九种情感，可按整段录音或每 20 毫秒识别。",
    other_name="English",
    other_path="/en/",
    audio="录音",
    limits="支持 WAV、MP3、M4A、FLAC、OGG · 25 毫秒至 30 秒 · 最大 {megabytes} MB",
    granularity="识别粒度",
    utterance="整段（utterance）：整段录音给出一个结果，3 至 10 秒效果最好",
    frame="逐帧（frame）：另外每 20 毫秒给出一个结果，可看情感如何变化",
    embedding="同时提取特征向量（embedding，描述声音的数字，供自行分析）",
    recognise="🎯 开始识别",
    examples="示例（合成语音）",
    result="识别结果",
    empty="请在左侧选择或录制一段语音，然后点击 🎯。",
    stages={"decode": "正在读取录音……", "recognise": "正在识别……", "save": "正在保存……"},
    busy="{stage} {seconds:.1f} 秒",
    confidence="置信度",
    scores="九种情感得分",
    course="情感随时间的变化",
    downloads="下载",
    files={
        "processed_audio.wav": "模型听到的音频（WAV）",
        "result.json": "识别结果（JSON）",
        "embedding.npy": "特征向量（NumPy）",
    },
    json="JSON 结果",
    log="处理日志",
    log_lines=(
        ("文件", "{filename}"),
        ("时长", "{duration:.2f} 秒"),
        ("采样率", "{sample_rate} Hz → 16000 Hz，单声道"),
        ("模型", "{model}（{weights}，{precision}）"),
        ("读取", "{decode:.0f} 毫秒"),
        ("识别", "{recognise:.0f} 毫秒"),
        ("完成时间", "{timestamp}"),
        ("保存位置", "{output_dir}"),
    ),
    history="最近的结果",
    history_empty="本次会话的识别结果会列在这里。",
    random_banner="⚠ 本服务使用的是随机权重：所有分数没有任何意义。"
    "请用 “make export” 导出真实模型。",
    random_chip="随机权重：没有意义",
    not_ready_banner="模型尚未就绪，就绪后即可识别。",
    foot="模型：{checkpoint}，{weights}，{precision}",
    foot_weights={
        "published": "官方发布的权重",
        "other": "非官方发布的权重",
        "unknown": "预训练权重",
        "random": "随机权重",
    },
    foot_license="权重许可：{license}",
    no_file="请先选择或录制一段语音。",
    error="识别未成功",
    problems={
        "empty": "文件是空的：请选择一个有内容的录音文件。",
        "too_large": "文件太大：最大 {megabytes} MB。请剪短录音，或改用 MP3、OGG 等压缩格式。",
        "not_audio": "这不是可以识别的音频文件：请使用 WAV、MP3、M4A、FLAC 或 OGG。",
        "unsupported": "不支持这种音频格式或参数：请转换为普通的 WAV、MP3、M4A、FLAC 或 OGG。",
        "damaged": "文件已损坏或不完整：请重新获取完整的文件。",
        "too_short": "录音太短：至少需要 25 毫秒，建议 1 秒以上。",
        "too_long": "录音太长：最长 30 秒。请剪短后再试；更长的录音请用命令 emotion2vec timeline。",
        "overloaded": "服务器正忙：请稍后再试。",
        "not_ready": "模型尚未就绪：请稍后再试。",
        "timeout": "服务器没有及时给出结果：请稍后再试，或使用更短的录音。",
        "failed": "服务器出错：请稍后再试；若仍然失败，请联系管理员。",
        "not_saved": "结果无法保存：请联系管理员清理服务器的磁盘空间。",
        "not_found": "这个结果已被删除：请重新识别。",
    },
    timeline={
        "chart": "图表",
        "stacked": "堆叠",
        "lines": "折线",
        "smoothing": "平滑",
        "seconds": "秒",
        "description": "九种情感得分随时间的变化；可用方向键移动位置",
        "hint": "点击图中任意位置即可试听。",
    },
    clip_tab="短语音（最长 30 秒）",
    recording_tab="长录音",
    recording={
        "choose": "将长录音拖到此处，或点击选择文件",
        "limits": "通话、访谈、课堂等 · 支持 WAV、MP3、M4A、FLAC、OGG · "
        "最长 {hours} 小时 · 最大 {megabytes} MB",
        "cut": "切分方式",
        "vad": "在语音停顿处",
        "fixed": "按固定时长的窗口",
        "window": "窗口（秒）",
        "hop": "步长（秒）",
        "embedding": "同时提取特征向量（embedding）",
        "start": "🎯 识别情感变化",
        "progress": "进度",
        "uploading": "正在上传……",
        "working": "正在识别……",
        "cancel": "取消",
        "cancelled": "已取消。",
        "gone": "无法连接服务器，正在重试……",
        "error": "识别未成功",
        "too_large": "文件超过 {megabytes} MB：请改用 MP3 等压缩格式。",
        "silent": "没有语音",
        "facts": "全长 {length}，其中 {speech} % 为语音，共 {count} 段",
        "random": "随机权重：没有意义",
        "zoom": "缩放",
        "description": "整段录音的情感变化；可用左右方向键在各段之间移动",
        "unheard": "服务器不保存录音：如需试听，请再次选择同一文件。",
        "unplayable": "浏览器无法播放此文件，但时间仍然准确。",
        "hint": "点击任意一段即可试听。",
        "negative": "最长的负面情感时段：",
        "turns": "情感转折点",
        "table": "各段结果",
        "columns": ["开始", "结束", "情感", "置信度", "语音"],
        "files": {
            "result.json": "识别结果（JSON）",
            "embedding.npy": "特征向量（NumPy）",
            "timeline.csv": "表格（CSV）",
            "timeline.srt": "字幕（SRT）",
            "timeline.vtt": "字幕（WebVTT）",
        },
        "problems": {
            "too_large": "文件太大：最大 {megabytes} MB。请改用 MP3、OGG 等压缩格式。",
            "too_long": "录音太长：最长 {hours} 小时。请分成几段。",
            "no_file": "请先选择一个录音文件。",
            "bad_request": "切分参数不合适：请按下面的说明修改。",
            "not_found": "这个结果已不存在：请重新识别。",
        },
    },
)

TEXTS: dict[Language, Text] = {"en": ENGLISH, "zh": CHINESE}
WEIGHTS_CHINESE = {"random": "随机权重", "pretrained": "预训练权重"}
