//! The table of the built-in extractors.
//!
//! Owns names, bounds, defaults and descriptions. It must hold nothing but constants.

use super::{
    COLOUR_LAYOUT_DIMENSIONS, Distance, ExtractorInfo, IMAGE_COLOUR_LAYOUT_VECTOR, InertValue,
    InputInfo, LEXICAL_VECTOR, MINILM_DIMENSIONS, MINILM_VECTOR, OutputField, ParameterInfo,
    ParameterKind, UNIVERSAL_COLOUR_LAYOUT_VECTOR, VectorInfo,
};
use crate::lexical::LEXICAL_DIMENSIONS;

pub(super) static ALL: &[ExtractorInfo] = &[PASSTHROUGH, TEXT, IMAGE, DOCUMENT, UNIVERSAL];

/// Largest chunk that can be asked for; the contract's bound.
const CHUNK_SIZE_MAX: u64 = 10_000;
/// Largest overlap that can be asked for; the contract's bound.
const CHUNK_OVERLAP_MAX: u64 = 5_000;
/// Pages of a PDF that can be asked for: each becomes a document, and a row's documents are held in memory at once.
const DOCUMENT_PAGES_MAX: u64 = 5_000;
/// Pages of a PDF that are read when nothing is asked for.
const DOCUMENT_PAGES_DEFAULT: u64 = 1_000;

const fn inert(name: &'static str, value: InertValue) -> ParameterInfo {
    ParameterInfo {
        name,
        kind: ParameterKind::Inert { value },
        description: "Accepted for clients that always send it; without effect.",
    }
}

const fn field(
    name: &'static str,
    json_type: &'static str,
    description: &'static str,
) -> OutputField {
    OutputField {
        name,
        json_type,
        description,
    }
}

const PAGES: ParameterInfo = ParameterInfo {
    name: "max_document_pages",
    kind: ParameterKind::Integer {
        min: 1,
        max: DOCUMENT_PAGES_MAX,
        default: Some(DOCUMENT_PAGES_DEFAULT),
    },
    description: "Pages of a PDF that are read; `page_count` of each document tells how many there are.",
};

const THUMBNAILS: ParameterInfo = ParameterInfo {
    name: "enable_thumbnails",
    kind: ParameterKind::Boolean { default: true },
    description: "Whether a small picture is made of each image.",
};

const fn colour_layout(name: &'static str) -> VectorInfo {
    VectorInfo {
        name,
        dimensions: COLOUR_LAYOUT_DIMENSIONS,
        distance: Distance::Cosine,
        description: "Luma and chroma of an 8 by 8 grid: finds images that look alike in colour and layout, not in meaning.",
    }
}

const PASSTHROUGH: ExtractorInfo = ExtractorInfo {
    name: "passthrough_extractor",
    version: "v1",
    description: "Copies the mapped fields of the source to a document; makes no vectors.",
    supported_input_types: &[
        "string", "number", "integer", "float", "boolean", "object", "array", "date", "datetime",
        "text", "image", "audio", "video", "pdf", "excel",
    ],
    inputs: &[],
    any_input: true,
    parameters: &[
        inert("extractor_type", InertValue::Text("passthrough_extractor")),
        ParameterInfo {
            name: "preserve_metadata",
            kind: ParameterKind::Boolean { default: true },
            description: "Whether mapped inputs are copied; without it only the collection's passed-through fields are.",
        },
    ],
    output_fields: &[],
    vectors: &[],
};

const TEXT: ExtractorInfo = ExtractorInfo {
    name: "text_extractor",
    version: "v1",
    description: "Cuts text into chunks and embeds each: with all-MiniLM-L6-v2 where a model folder is set, else with a hashed lexical vector.",
    supported_input_types: &["string", "text"],
    inputs: &[InputInfo {
        key: "text",
        required: true,
        types: &["string", "text"],
        description: "A text field, or a blob with plain text in any common encoding.",
    }],
    any_input: false,
    parameters: &[
        ParameterInfo {
            name: "split_by",
            kind: ParameterKind::Choice {
                values: &["characters", "words", "sentences", "paragraphs", "none"],
                default: Some("characters"),
            },
            description: "Where the text is cut; also the unit of chunk_size and chunk_overlap.",
        },
        ParameterInfo {
            name: "chunk_size",
            kind: ParameterKind::Integer {
                min: 1,
                max: CHUNK_SIZE_MAX,
                default: None,
            },
            description: "Units of a chunk at most; when left out 1000 characters, 150 words, 5 sentences or 1 paragraph.",
        },
        ParameterInfo {
            name: "chunk_overlap",
            kind: ParameterKind::Integer {
                min: 0,
                max: CHUNK_OVERLAP_MAX,
                default: Some(0),
            },
            description: "Units that a chunk repeats of the one before; smaller than chunk_size.",
        },
        ParameterInfo {
            name: "embedding",
            kind: ParameterKind::Choice {
                values: &["auto", "minilm", "lexical", "none"],
                default: Some("auto"),
            },
            description: "The vector of each chunk; `auto` is `minilm` where there is a model, else `lexical`.",
        },
        ParameterInfo {
            name: "embedding_model",
            kind: ParameterKind::Choice {
                values: &["all_minilm_l6_v2_v1"],
                default: None,
            },
            description: "Another way to ask for `embedding: minilm`.",
        },
        inert("extractor_type", InertValue::Text("text_extractor")),
        inert("extract_captions", InertValue::Boolean(true)),
        inert("language", InertValue::Text("en")),
        inert("segment_length_seconds", InertValue::Integer(120)),
        inert("source_type", InertValue::Text("text")),
    ],
    output_fields: &[
        field("text", "string", "The chunk."),
        field(
            "chunk_index",
            "integer",
            "Its place among the chunks, from 0.",
        ),
        field("chunk_count", "integer", "How many chunks the text has."),
        field(
            "start_char",
            "integer",
            "Where it begins in the text, in characters from 0.",
        ),
        field(
            "end_char",
            "integer",
            "Where it ends in the text, in characters, exclusive.",
        ),
        field(
            "embedding_truncated",
            "boolean",
            "Present and true when the model read only the chunk's beginning (256 tokens).",
        ),
    ],
    vectors: &[
        VectorInfo {
            name: MINILM_VECTOR,
            dimensions: MINILM_DIMENSIONS,
            distance: Distance::Cosine,
            description: "Sentence embedding by all-MiniLM-L6-v2: finds text of like meaning (English).",
        },
        VectorInfo {
            name: LEXICAL_VECTOR,
            dimensions: LEXICAL_DIMENSIONS,
            distance: Distance::Cosine,
            description: "Hashed words and word pairs: finds text with the same words, not of like meaning.",
        },
    ],
};

const IMAGE: ExtractorInfo = ExtractorInfo {
    name: "image_extractor",
    version: "v1",
    description: "Size, format, EXIF, perceptual hash, dominant colours, a thumbnail and a colour-layout vector of PNG, JPEG, GIF, WebP, BMP and TIFF images.",
    supported_input_types: &["image"],
    inputs: &[InputInfo {
        key: "image",
        required: true,
        types: &["image"],
        description: "A blob with an image.",
    }],
    any_input: false,
    parameters: &[
        THUMBNAILS,
        ParameterInfo {
            name: "thumbnail_size_px",
            kind: ParameterKind::Integer {
                min: 16,
                max: 256,
                default: Some(256),
            },
            description: "Longest side of the thumbnail, in pixels.",
        },
        ParameterInfo {
            name: "dominant_colours_max",
            kind: ParameterKind::Integer {
                min: 1,
                max: 8,
                default: Some(5),
            },
            description: "How many dominant colours are named at most.",
        },
        inert("extractor_type", InertValue::Text("image_extractor")),
        inert("use_cdn", InertValue::Boolean(false)),
    ],
    output_fields: IMAGE_FIELDS,
    vectors: &[colour_layout(IMAGE_COLOUR_LAYOUT_VECTOR)],
};

const IMAGE_FIELDS: &[OutputField] = &[
    field("mime_type", "string", "The content's type, from its bytes."),
    field("size_bytes", "integer", "Size of the blob, in bytes."),
    field(
        "width",
        "integer",
        "Width as shown (after the EXIF orientation), in pixels.",
    ),
    field("height", "integer", "Height as shown, in pixels."),
    field("format", "string", "Format, such as `png`."),
    field("has_alpha", "boolean", "Whether it has transparency."),
    field(
        "perceptual_hash",
        "string",
        "64-bit difference hash in hexadecimal; near hashes, near images.",
    ),
    field(
        "dominant_colours",
        "array",
        "Colours as `{hex, share}`, the most frequent first.",
    ),
    field(
        "exif",
        "object",
        "Chosen EXIF values as text; absent when there is none.",
    ),
];

const DOCUMENT_FIELDS: &[OutputField] = &[
    field("mime_type", "string", "The content's type, from its bytes."),
    field("size_bytes", "integer", "Size of the blob, in bytes."),
    field("text", "string", "The text; of a PDF, the page's."),
    field("title", "string", "The title; absent when there is none."),
    field(
        "encoding",
        "string",
        "The encoding it was read in; not for PDF.",
    ),
    field("links", "array", "Targets of an HTML page's links."),
    field("page_number", "integer", "The page, from 1; PDF only."),
    field(
        "page_count",
        "integer",
        "How many pages there are; PDF only.",
    ),
    field(
        "page_error",
        "string",
        "Why this page has no text although others have; PDF only.",
    ),
];

const DOCUMENT: ExtractorInfo = ExtractorInfo {
    name: "document_extractor",
    version: "v1",
    description: "Text, title and links of PDF (a document a page), HTML, Markdown and plain text in any common encoding.",
    supported_input_types: &["pdf", "text", "string"],
    inputs: &[InputInfo {
        key: "document",
        required: true,
        types: &["pdf", "text", "string"],
        description: "A blob or text field with a document.",
    }],
    any_input: false,
    parameters: &[
        PAGES,
        inert("extractor_type", InertValue::Text("document_extractor")),
    ],
    output_fields: DOCUMENT_FIELDS,
    vectors: &[],
};

const UNIVERSAL: ExtractorInfo = ExtractorInfo {
    name: "universal_extractor",
    version: "v1",
    description: "Looks at the content itself and reads it as a document or an image; of anything else it records type, size and hash. Archives are not opened.",
    supported_input_types: &["string", "text", "image", "audio", "video", "pdf", "excel"],
    inputs: &[InputInfo {
        key: "file",
        required: true,
        types: &["string", "text", "image", "audio", "video", "pdf", "excel"],
        description: "A blob with anything in it, or a text field.",
    }],
    any_input: false,
    parameters: &[
        PAGES,
        THUMBNAILS,
        inert("extractor_type", InertValue::Text("universal_extractor")),
        inert("extract_text", InertValue::Boolean(true)),
        inert("generate_description", InertValue::Boolean(true)),
        inert("max_concurrency", InertValue::Integer(4)),
        inert("max_file_download_mb", InertValue::Integer(500)),
        inert("max_video_segments", InertValue::Integer(10)),
        inert("output_dimensionality", InertValue::Integer(3072)),
        inert("task_type", InertValue::Text("RETRIEVAL_DOCUMENT")),
    ],
    output_fields: &[
        field(
            "modality",
            "string",
            "`text`, `document`, `image` or `binary`; the other fields follow from it.",
        ),
        field("mime_type", "string", "The content's type, from its bytes."),
        field("size_bytes", "integer", "Size of the blob, in bytes."),
        field(
            "text",
            "string",
            "The text, of text and documents; of a PDF, the page's.",
        ),
        field("title", "string", "The title; absent when there is none."),
        field(
            "blake3",
            "string",
            "Hash of the bytes in hexadecimal; `binary` only.",
        ),
    ],
    vectors: &[colour_layout(UNIVERSAL_COLOUR_LAYOUT_VECTOR)],
};
