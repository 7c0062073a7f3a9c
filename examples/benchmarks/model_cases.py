"""The networks of four libraries that a sweep accounts for, each with inputs it can run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Shapes = tuple[tuple[int, ...], ...]  # of each input, without the batch
Example = dict[str, Tensor]  # keyword arguments, the batch of 1 included


class Case(NamedTuple):
    """One network; nothing is built before it is asked for."""

    library: str
    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[nn.Module], Shapes | Example]


def all_cases() -> Iterator[Case]:
    yield from torchvision_cases()
    yield from smp_cases()
    yield from transformers_cases()
    yield from timm_cases()


# ---- torchvision

_TV_SIZES = {"inception_v3": 299, "quantized_inception_v3": 299, "ssd300_vgg16": 300}
_TV_DETECTION = ("rcnn", "fcos", "retinanet")
_TV_VIDEO = ("mc3_18", "r2plus1d_18", "r3d_18", "s3d", "swin3d_", "mvit_")


def torchvision_cases() -> Iterator[Case]:
    """Every name that torchvision lists."""
    from torchvision import models

    for name in models.list_models():
        shapes = _torchvision_shapes(name)
        yield Case("torchvision", name, _torchvision(name), lambda _, shapes=shapes: shapes)


def _torchvision(name: str) -> Callable[[], nn.Module]:
    from torchvision import models

    def build() -> nn.Module:
        options: dict[str, Any] = {"weights": None}
        if models.get_model_builder(name).__module__.split(".")[2] in ("detection", "segmentation"):
            options["weights_backbone"] = None
        if name in ("googlenet", "quantized_googlenet", "inception_v3", "quantized_inception_v3"):
            options["init_weights"] = False  # it takes half a minute
        return models.get_model(name, **options)

    return build


def _torchvision_shapes(name: str) -> Shapes:
    if name.startswith(_TV_VIDEO):
        size = 224 if name.startswith(("mvit", "swin", "s3d")) else 112
        return ((3, 16, size, size),)
    if name.startswith("raft"):
        return ((3, 128, 128),) * 2
    if "320" in name or any(part in name for part in _TV_DETECTION):
        return ((3, 320, 320),)
    size = _TV_SIZES.get(name, 224)
    return ((3, size, size),)


# ---- segmentation_models_pytorch

SMP_ARCHITECTURES = (
    "Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "PAN", "DeepLabV3",
    "DeepLabV3Plus", "UPerNet", "Segformer",
)  # fmt: skip
SMP_ENCODERS = (
    "resnet18", "mobilenet_v2", "efficientnet-b0", "densenet121", "xception", "vgg11",
    "se_resnet50", "timm-efficientnet-b0", "mit_b0", "mobileone_s0", "tu-regnetx_002", "dpn68",
)  # fmt: skip
SMP_DPT_ENCODERS = ("tu-vit_tiny_patch16_224", "tu-vit_small_patch16_224.dino")
SMP_SIZE = 128


def smp_cases() -> Iterator[Case]:
    """Every architecture on a dozen encoders."""
    pairs = [(a, e) for a in SMP_ARCHITECTURES for e in SMP_ENCODERS]
    for architecture, encoder in [*pairs, *(("DPT", e) for e in SMP_DPT_ENCODERS)]:
        size = 224 if architecture == "DPT" else SMP_SIZE
        shapes = ((3, size, size),)
        build = _smp(architecture, encoder)
        yield Case("smp", f"{architecture}/{encoder}", build, lambda _, shapes=shapes: shapes)


def _smp(architecture: str, encoder: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import segmentation_models_pytorch as smp

        return getattr(smp, architecture)(encoder, encoder_weights=None)

    return build


# ---- transformers

_IMAGE = {"image_size": 32, "num_channels": 3}
_WIDTH = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_VIT = {**_IMAGE, **_WIDTH, "patch_size": 8, "intermediate_size": 64}
_TEXT = {**_WIDTH, "vocab_size": 99, "intermediate_size": 64, "max_position_embeddings": 64}
_DECODER = {**_TEXT, "num_key_value_heads": 2, "use_cache": False}
_STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
_RESNET = {"embedding_size": 8, **_STAGES, "layer_type": "basic"}
_SWIN = {
    "image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 4],
    "window_size": 4,
}  # fmt: skip
_AUDIO = {
    **_WIDTH, "intermediate_size": 64, "conv_dim": [16, 16, 16], "conv_stride": [5, 2, 2],
    "conv_kernel": [10, 3, 2], "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2, "vocab_size": 32,
}  # fmt: skip
_T5 = {
    "vocab_size": 99, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2,
    "use_cache": False,
}  # fmt: skip
_SEQ2SEQ = {
    "vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64, "max_position_embeddings": 64, "use_cache": False,
}  # fmt: skip
_WHISPER = {
    "vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "num_mel_bins": 16,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64, "max_source_positions": 20, "max_target_positions": 20,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "use_cache": False,
}  # fmt: skip
_DETR = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 5,
    "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None,
}  # fmt: skip
_IMAGE_SHAPE: Shapes = ((3, 32, 32),)
_LARGER: Shapes = ((3, 64, 64),)


def ids(length: int = 12, below: int = 90) -> Tensor:
    """Token numbers, a batch of 1."""
    return torch.arange(length).mul(7).add(3).remainder(below).unsqueeze(0)


def values(*shape: int) -> Tensor:
    """Floats, the batch included."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _text(length: int = 12) -> Example:
    return {"input_ids": ids(length), "attention_mask": torch.ones(1, length, dtype=torch.int64)}


def _pair() -> Example:
    return {"input_ids": ids(12), "decoder_input_ids": ids(6)}


def _vision_and_text() -> Example:
    return _text() | {"pixel_values": values(1, 3, 32, 32)}


# Class, its configuration's class, the configuration, and inputs.
_Tiny = tuple[str, str, dict[str, Any], Shapes | Callable[[], Example]]
TRANSFORMERS: tuple[_Tiny, ...] = (
    ("ViTModel", "ViTConfig", _VIT, _IMAGE_SHAPE),
    ("ViTForImageClassification", "ViTConfig", _VIT, _IMAGE_SHAPE),
    ("DeiTModel", "DeiTConfig", _VIT, _IMAGE_SHAPE),
    ("BeitModel", "BeitConfig", {**_VIT, "use_relative_position_bias": True}, _IMAGE_SHAPE),
    ("CLIPVisionModel", "CLIPVisionConfig", _VIT, _IMAGE_SHAPE),
    ("SiglipVisionModel", "SiglipVisionConfig", _VIT, _IMAGE_SHAPE),
    ("Dinov2Model", "Dinov2Config", _VIT, _IMAGE_SHAPE),
    ("SwinModel", "SwinConfig", _SWIN, _IMAGE_SHAPE),
    ("Swinv2Model", "Swinv2Config", _SWIN, _IMAGE_SHAPE),
    (
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16,
         "num_attention_heads": [1, 1, 2, 2]},
        _LARGER,
    ),
    ("ConvNextForImageClassification", "ConvNextConfig", _STAGES, _IMAGE_SHAPE),
    ("ConvNextV2ForImageClassification", "ConvNextV2Config", _STAGES, _IMAGE_SHAPE),
    ("ResNetForImageClassification", "ResNetConfig", _RESNET, _IMAGE_SHAPE),
    (
        "RegNetForImageClassification",
        "RegNetConfig",
        {**_STAGES, "embedding_size": 8, "groups_width": 8, "layer_type": "y"},
        _IMAGE_SHAPE,
    ),
    (
        "MobileNetV2ForImageClassification",
        "MobileNetV2Config",
        {"depth_multiplier": 0.35, "image_size": 32},
        _IMAGE_SHAPE,
    ),
    (
        "MobileViTForImageClassification",
        "MobileViTConfig",
        {"image_size": 64, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24,
         24, 32], "num_attention_heads": 2},
        _LARGER,
    ),
    (
        "PoolFormerForImageClassification",
        "PoolFormerConfig",
        {**_STAGES, "num_encoder_blocks": 4},
        _LARGER,
    ),
    (
        "PvtForImageClassification",
        "PvtConfig",
        {**_STAGES, "image_size": 64, "num_attention_heads": [1, 1, 2, 2]},
        _LARGER,
    ),
    (
        "PvtV2ForImageClassification",
        "PvtV2Config",
        {**_STAGES, "image_size": 64, "num_attention_heads": [1, 1, 2, 2]},
        _LARGER,
    ),
    ("LevitForImageClassification", "LevitConfig",
     {"image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [1, 2, 2],
      "depths": [1, 1, 1], "key_dim": [8, 8, 8]}, _LARGER),
    ("EfficientNetForImageClassification", "EfficientNetConfig",
     {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
     _LARGER),
    ("YolosForObjectDetection", "YolosConfig",
     {**_VIT, "image_size": [32, 32], "num_detection_tokens": 5}, _IMAGE_SHAPE),
    ("DetrForObjectDetection", "DetrConfig", {**_DETR, "backbone_config": _RESNET}, _LARGER),
    ("DPTForDepthEstimation", "DPTConfig",
     {**_VIT, "num_hidden_layers": 4, "neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 8,
      "backbone_out_indices": [0, 1, 2, 3], "is_hybrid": False}, _IMAGE_SHAPE),
    ("VideoMAEModel", "VideoMAEConfig", {**_VIT, "num_frames": 4}, ((4, 3, 32, 32),)),
    ("SwiftFormerForImageClassification", "SwiftFormerConfig",
     {"depths": [1, 1, 1, 1], "embed_dims": [8, 16, 24, 32]}, _LARGER),
    ("BertModel", "BertConfig", _TEXT, _text),
    ("BertForMaskedLM", "BertConfig", _TEXT, _text),
    ("RobertaModel", "RobertaConfig", {**_TEXT, "max_position_embeddings": 66}, _text),
    ("DistilBertModel", "DistilBertConfig",
     {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}, _text),
    ("AlbertModel", "AlbertConfig", {**_TEXT, "embedding_size": 16}, _text),
    ("ElectraModel", "ElectraConfig", {**_TEXT, "embedding_size": 16}, _text),
    ("DebertaV2Model", "DebertaV2Config",
     {**_TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}, _text),
    ("GPT2LMHeadModel", "GPT2Config",
     {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64,
      "use_cache": False}, _text),
    ("GPTNeoXForCausalLM", "GPTNeoXConfig", {**_TEXT, "use_cache": False}, _text),
    ("OPTForCausalLM", "OPTConfig",
     {"vocab_size": 99, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2,
      "num_attention_heads": 2, "word_embed_proj_dim": 32, "use_cache": False}, _text),
    ("BloomForCausalLM", "BloomConfig",
     {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 2, "use_cache": False}, _text),
    ("LlamaForCausalLM", "LlamaConfig", _DECODER, _text),
    ("MistralForCausalLM", "MistralConfig", _DECODER, _text),
    ("Qwen2ForCausalLM", "Qwen2Config", _DECODER, _text),
    ("MambaForCausalLM", "MambaConfig",
     {"vocab_size": 99, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2,
      "use_cache": False}, lambda: {"input_ids": ids()}),
    ("T5EncoderModel", "T5Config", _T5, _text),
    ("T5ForConditionalGeneration", "T5Config", _T5, _pair),
    ("BartModel", "BartConfig", _SEQ2SEQ, _pair),
    ("CLIPModel", "CLIPConfig",
     {"text_config": _TEXT, "vision_config": _VIT, "projection_dim": 16}, _vision_and_text),
    ("Wav2Vec2Model", "Wav2Vec2Config", _AUDIO, lambda: {"input_values": values(1, 1600)}),
    ("HubertModel", "HubertConfig", _AUDIO, lambda: {"input_values": values(1, 1600)}),
    ("ASTModel", "ASTConfig",
     {**_WIDTH, "intermediate_size": 64, "patch_size": 8, "frequency_stride": 8, "time_stride": 8,
      "max_length": 64, "num_mel_bins": 16}, lambda: {"input_values": values(1, 64, 16)}),
    ("WhisperModel", "WhisperConfig", _WHISPER,
     lambda: {"input_features": values(1, 16, 40), "decoder_input_ids": ids(5)}),
)  # fmt: skip


def transformers_cases() -> Iterator[Case]:
    """Tiny configurations of vision, text and audio models."""
    for model, config, settings, inputs in TRANSFORMERS:

        def given(_: nn.Module, inputs: Any = inputs) -> Shapes | Example:
            return inputs() if callable(inputs) else inputs

        yield Case("transformers", model, _transformers(model, config, settings), given)


def _transformers(model: str, config: str, settings: dict[str, Any]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        made = dict(settings)
        if "backbone_config" in made:
            last = {"out_features": ["stage4"], **made["backbone_config"]}
            made["backbone_config"] = transformers.ResNetConfig(**last)
        return getattr(transformers, model)(getattr(transformers, config)(**made))

    return build


# ---- timm


def timm_cases() -> Iterator[Case]:
    """The smallest network of every family, and of families that differ within, further ones."""
    for name in TIMM:
        yield Case("timm", name, _timm(name), _timm_shapes)


def _timm(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False)

    return build


def _timm_shapes(model: nn.Module) -> Shapes:
    return (tuple(model.pretrained_cfg["input_size"]),)


TIMM = (
    "beit_base_patch16_224", "eca_botnext26ts_256", "eca_halonext26ts", "halonet_h1",
    "haloregnetz_b", "lambda_resnet26t", "lamhalobotnet50ts_256", "sehalonet33ts",
    "bat_resnext26ts", "gcresnext26ts", "gernet_s", "mobileone_s0", "mobileone_s1",
    "regnetz_b16", "repvgg_a0", "resnet50_clip", "seresnext26ts", "cait_xxs24_224",
    "coat_lite_tiny", "coat_tiny", "convit_tiny", "convmixer_768_32", "convnext_atto_ols",
    "convnext_zepto_rms", "convnextv2_atto", "cpubone_nano", "crossvit_9_dagger_240",
    "crossvit_tiny_240", "csatv2", "cs3darknet_focus_s", "cspresnet50", "cspresnext50",
    "darknet17", "sedarknet21", "cspnext_tiny", "davit_tiny", "deepseek_vit_412m",
    "deit3_small_patch16_224", "deit_tiny_distilled_patch16_224", "deit_tiny_patch16_224",
    "densenet121", "densenetblur121d", "dla46_c", "dla46x_c", "dla60_res2net", "dla60x_c",
    "dpn48b", "edgenext_xx_small", "efficientformer_l1", "efficientformerv2_s0",
    "efficientnet_b0", "efficientnet_es", "efficientnet_lite0", "fbnetc_100",
    "gc_efficientnetv2_rw_t", "mixnet_s", "mnasnet_small", "mobilenet_edgetpu_100",
    "mobilenetv1_100", "mobilenetv2_035", "semnasnet_050", "spnasnet_100",
    "tf_efficientnet_b0", "tf_efficientnet_cc_b0_4e", "tf_efficientnetv2_b0", "tinynet_e",
    "efficientvim_m1", "efficientvit_b0", "efficientvit_l1", "efficientvit_m0",
    "eva02_tiny_patch14_224", "vit_base_patch16_rope_reg1_gap_256",
    "vit_pe_core_tiny_patch16_384", "vit_pe_spatial_tiny_patch16_512",
    "vit_tiny_patch16_dinov3_qkvb", "fasternet_t0", "fastvit_s12", "fastvit_t8",
    "focalnet_tiny_lrf", "focalnet_tiny_srf", "gcvit_xxtiny", "gemma4_vit_167m",
    "ghostnet_050", "ghostnetv3_050", "hardcorenas_a", "hgnet_tiny", "hgnetv2_b0",
    "hiera_tiny_224", "hieradet_small", "sam2_hiera_tiny", "hrnet_w18_small", "hrnet_w18_ssld",
    "iformer_t", "inception_next_atto", "inception_resnet_v2", "inception_v3", "inception_v4",
    "lcnetv2_small", "levit_128s", "levit_conv_128s", "lowformer_b0", "lowformer_e1",
    "mambaout_femto", "coatnet_pico_rw_224", "coatnet_rmlp_nano_rw_224",
    "coatnext_nano_rw_224", "maxvit_pico_rw_256", "maxvit_rmlp_pico_rw_256",
    "maxxvit_rmlp_nano_rw_256", "caformer_s18", "convformer_s18", "poolformer_s12",
    "poolformerv2_s12", "gmixer_12_224", "gmlp_ti16_224", "mixer_s16_224", "resmlp_12_224",
    "fbnetv3_b", "lcnet_035", "mobilenetv3_small_050", "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_medium", "tf_mobilenetv3_small_075", "mobilenetv5_300m",
    "mobilenetv5_base", "mobilevit_xxs", "mobilevitv2_050", "mvitv2_tiny",
    "naflexvit_base_patch16_parfac_gap", "naflexvit_base_patch16_siglip", "nasnetalarge",
    "nest_tiny", "nextvit_small", "dm_nfnet_f0", "eca_nfnet_l0", "nf_regnet_b0", "nf_resnet26",
    "nf_seresnet26", "pit_ti_224", "pit_ti_distilled_224", "pnasnet5large", "pvt_v2_b0",
    "qwen3_vit_88m", "rdnet_tiny", "regnetx_002", "regnety_002", "regnetz_005",
    "repghostnet_050", "repvit_m1", "res2net50_14w_8s", "res2next50", "resnest14d",
    "resnest26d", "resnest50d_1s4x24d", "ecaresnet26t", "resnet10t", "resnet14t", "resnet18",
    "resnetaa34d", "resnetblur18", "resnetrs50", "seresnet18", "seresnext26t_32x4d",
    "resnetv2_18", "resnetv2_50d_evos", "resnetv2_50d_gn", "resnetv2_50x1_bit", "rexnet_100",
    "rexnetr_100", "selecsls42", "legacy_seresnet18", "legacy_seresnext26_32x4d",
    "sequencer2d_s", "shvit_s1", "skresnet18", "skresnext50_32x4d", "starnet_s050",
    "swiftformer_l1", "swiftformer_xs", "swin_s3_tiny_224", "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window16_256", "swinv2_cr_tiny_224", "tiny_vit_5m_224",
    "tnt_s_legacy_patch16_224", "tresnet_m", "twins_pcpvt_small", "twins_svt_small", "vgg11",
    "vgg11_bn", "visformer_tiny", "beit3_base_patch16_224", "flexivit_small",
    "vit_base_patch16_clip_quickgelu_224", "vit_dpwee_patch16_reg1_gap_256",
    "vit_small_patch14_reg4_dinov2", "vit_small_patch16_18x2_224", "vit_tiny_patch16_224",
    "vit_wee_patch16_reg1_gap_256", "vit_base_mci_224", "vit_small_resnet26d_224",
    "vit_tiny_r_s16_p8_224", "vit_relpos_small_patch16_rpn_224",
    "vit_srelpos_small_patch16_224", "samvit_base_patch16_224", "vitamin_small_224",
    "volo_d1_224", "eca_vovnet39b", "ese_vovnet19b_dw", "ese_vovnet19b_slim_dw", "vovnet39a",
    "legacy_xception", "xception", "xception41", "xception41p", "xcit_nano_12_p8_224",
    "xcit_tiny_12_p16_224",
)  # fmt: skip
