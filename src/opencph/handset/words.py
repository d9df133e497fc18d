"""What the screen says: in English, or in Chinese where the machine has a font for it. Where words go is `screen_layout.py`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from opencph.handset.fonts import chinese_font

if TYPE_CHECKING:
    from opencph.handset.phone import Phone

_CHINESE = {
    "Settings": "设置",
    "Files": "文件",
    "Home": "主屏幕",
    "Search": "搜索",
    "Locked. Swipe up, or `input keyevent MENU`": "已锁定。向上滑动，或执行 `input keyevent MENU`",
    "OpenCPH handset, not Android": "OpenCPH 手机，并非 Android",
    "an OpenCPH handset, not Android": "OpenCPH 手机，并非 Android",
    "Name": "名称",
    "This is": "本机",
    "Answers as": "版本",
    "Image": "镜像",
    "Model": "型号",
    "Address": "地址",
    "Screen": "屏幕",
    "Disk": "存储",
    "Memory": "内存",
    "Network": "网络",
    "Operator": "运营商",
    "Language": "语言",
    "Boots": "启动次数",
    "Apps": "应用",
    "none": "无",
    "portrait": "竖屏",
    "right": "右转",
    "upside down": "倒置",
    "left": "左转",
    "Recent apps": "最近使用的应用",
    "No recent apps": "没有最近使用的应用",
    "Clear all": "全部清除",
    "Notifications": "通知",
    "ADB connected: this phone can be debugged": "ADB 已连接：可以调试本机",
    "space": "空格",
    "version {0}": "版本 {0}",
    "{0} is installed,": "{0} 已安装，",
    "but this is an OpenCPH handset, not Android:": "但这是 OpenCPH 手机，并非 Android：",
    "it runs no apps. This card is all there is.": "它不运行应用，只显示此卡片。",
    "{0} is suspended.": "{0} 已暂停。",
    "It would need:": "它需要：",
    "Android with SDK {0} or newer": "Android，SDK {0} 或更高",
    "a processor for {0}": "处理器 {0}",
    "any processor": "任意处理器",
    "features: {0}": "功能：{0}",
    "permissions: {0}": "权限：{0}",
    "no permissions": "无需权限",
    "allowed": "已允许",
    "not allowed": "未允许",
    "Signed with scheme v{0}": "签名方案 v{0}",
    "Not signed": "未签名",
}
_DAYS = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")


def locale(phone: Phone) -> str:
    """The phone's language tag, such as zh-CN."""
    properties = phone.running_properties
    return properties.get("persist.sys.locale") or properties.get("ro.product.locale") or "en-US"


class Speech(NamedTuple):
    """How the screen of a phone speaks."""

    locale: str
    chinese: bool

    def say(self, text: str, *values: object) -> str:
        """A sentence of this module in the phone's language, with its values."""
        return (_CHINESE.get(text, text) if self.chinese else text).format(*values)

    def date(self, now: time.struct_time) -> str:
        """A day."""
        if self.chinese:
            return f"{now.tm_year}年{now.tm_mon}月{now.tm_mday}日 {_DAYS[now.tm_wday]} {now.tm_zone}"
        return f"{time.strftime('%a %d %b %Y', now)}, {now.tm_zone}"

    def label(self, labels: dict[str, str], default: str) -> str:
        """An app's label: that of the country, of the language, else its default."""
        language, *rest = self.locale.split("-")
        region = next((part for part in rest if len(part) in (2, 3) and part.isupper()), "")
        return labels.get(f"{language}-{region}") or labels.get(language) or default


def speech(phone: Phone) -> Speech:
    """That of a running phone."""
    tag = locale(phone).replace("_", "-")
    return Speech(tag, tag.partition("-")[0].lower() == "zh" and bool(chinese_font()))
