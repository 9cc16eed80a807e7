//! The template dependency structure (§A.8.3, `template_dependency_structure`): what frames of a
//! stream look like, sent once with each key frame.

use super::{
    DECODE_TARGETS_MAX, FRAME_DIFFS_MAX, Indications, SPATIAL_LAYERS_MAX, TEMPLATES_MAX, TEMPORAL_LAYERS_MAX,
};
use crate::bits::{BitReader, BitWriter};

/// Frame number differences to referenced frames, 1..=4096 each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameDiffs {
    diffs: [u16; FRAME_DIFFS_MAX],
    count: u8,
}

impl FrameDiffs {
    /// The differences.
    #[must_use]
    pub fn as_slice(&self) -> &[u16] {
        self.diffs.get(..usize::from(self.count)).unwrap_or_default()
    }

    fn push(&mut self, diff: u16) -> Option<()> {
        *self.diffs.get_mut(usize::from(self.count))? = diff;
        self.count += 1;
        Some(())
    }

    /// `template_fdiffs` of one template.
    fn read(reader: &mut BitReader<'_>) -> Option<Self> {
        let mut found = Self::default();
        while reader.flag()? {
            found.push(reader.read(4)? as u16 + 1)?;
        }
        Some(found)
    }

    /// `frame_fdiffs`: sizes of 4, 8 or 12 bits.
    pub(super) fn read_custom(reader: &mut BitReader<'_>) -> Option<Self> {
        let mut found = Self::default();
        loop {
            let size = reader.read(2)? as usize;
            if size == 0 {
                return Some(found);
            }
            found.push(reader.read(size * 4)? as u16 + 1)?;
        }
    }
}

/// What frames of one kind have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Relation to the decode targets.
    pub indications: Indications,
    /// References.
    pub frame_diffs: FrameDiffs,
    /// Per chain: difference to the frame of the chain before.
    pub chain_diffs: [u8; DECODE_TARGETS_MAX],
}

/// A structure as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Id of the first template.
    template_id_offset: u8,
    target_count: u8,
    pub(super) chain_count: u8,
    /// Which chain protects a decode target; meaningless without chains.
    protected_by: [u8; DECODE_TARGETS_MAX],
    /// Layers of each decode target: spatial and temporal (§A.8.3, `decode_target_layers`).
    target_layers: [(u8, u8); DECODE_TARGETS_MAX],
    templates: Vec<Template>,
    /// Per spatial layer, empty when not said.
    resolutions: Vec<(u32, u32)>,
}

impl Structure {
    /// How many decode targets there are, 1..=32.
    #[must_use]
    pub const fn target_count(&self) -> usize {
        self.target_count as usize
    }

    /// How many chains there are, 0..=32.
    #[must_use]
    pub const fn chain_count(&self) -> usize {
        self.chain_count as usize
    }

    /// How many spatial layers there are, 1..=4.
    #[must_use]
    pub fn spatial_layers(&self) -> u8 {
        // Templates are ordered by spatial layer.
        self.templates.last().map_or(1, |last| last.spatial + 1)
    }

    /// The templates in order.
    #[must_use]
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// The template of an id, 0..=63.
    #[must_use]
    pub fn template(&self, id: u8) -> Option<&Template> {
        let index = (usize::from(id) + TEMPLATES_MAX - usize::from(self.template_id_offset)) % TEMPLATES_MAX;
        self.templates.get(index)
    }

    /// The id of the template at an index of [`Self::templates`].
    #[must_use]
    pub const fn template_id(&self, index: usize) -> u8 {
        ((self.template_id_offset as usize + index) % TEMPLATES_MAX) as u8
    }

    /// The chain that protects a decode target.
    #[must_use]
    pub fn chain_of(&self, target: usize) -> Option<u8> {
        if self.chain_count == 0 || target >= self.target_count() {
            return None;
        }
        self.protected_by.get(target).copied()
    }

    /// The highest spatial and temporal layer of a decode target.
    #[must_use]
    pub fn layers_of(&self, target: usize) -> Option<(u8, u8)> {
        self.target_layers
            .get(..self.target_count())?
            .get(target)
            .copied()
    }

    /// The decode target of the highest layers that stay within `spatial` and `temporal`: spatial
    /// counts first.
    #[must_use]
    pub fn target_within(&self, spatial: u8, temporal: u8) -> Option<usize> {
        (0..self.target_count())
            .filter(|&target| self.is_within(target, spatial, temporal))
            .max_by_key(|&target| self.layers_of(target))
    }

    /// Mask of the decode targets that stay within `spatial` and `temporal`, bit 0 for target 0.
    #[must_use]
    pub fn mask_within(&self, spatial: u8, temporal: u8) -> u32 {
        (0..self.target_count())
            .filter(|&target| self.is_within(target, spatial, temporal))
            .fold(0, |mask, target| mask | 1 << target)
    }

    fn is_within(&self, target: usize, spatial: u8, temporal: u8) -> bool {
        self.layers_of(target)
            .is_some_and(|(s, t)| s <= spatial && t <= temporal)
    }

    /// Mask of all decode targets.
    #[must_use]
    pub fn all_targets(&self) -> u32 {
        ((1u64 << self.target_count) - 1) as u32
    }

    /// The size of a spatial layer, if said.
    #[must_use]
    pub fn resolution(&self, spatial: u8) -> Option<(u32, u32)> {
        self.resolutions.get(usize::from(spatial)).copied()
    }

    /// Memory to read into.
    pub(super) const fn unread() -> Self {
        Self {
            template_id_offset: 0,
            target_count: 1,
            chain_count: 0,
            protected_by: [0; DECODE_TARGETS_MAX],
            target_layers: [(0, 0); DECODE_TARGETS_MAX],
            templates: Vec::new(),
            resolutions: Vec::new(),
        }
    }

    /// Reads a structure over this one, whose memory it takes. `None`: broken, and so is what is left.
    pub(super) fn read(&mut self, reader: &mut BitReader<'_>) -> Option<()> {
        let (mut templates, mut resolutions) = (
            std::mem::take(&mut self.templates),
            std::mem::take(&mut self.resolutions),
        );
        templates.clear();
        resolutions.clear();
        *self = Self {
            templates,
            resolutions,
            ..Self::unread()
        };
        self.template_id_offset = reader.read(6)? as u8;
        self.target_count = reader.read(5)? as u8 + 1;
        self.read_layers(reader)?;
        let targets = self.target_count();
        for template in &mut self.templates {
            template.indications = Indications::read(reader, targets)?;
        }
        for template in &mut self.templates {
            template.frame_diffs = FrameDiffs::read(reader)?;
        }
        self.read_chains(reader)?;
        self.find_target_layers();
        if reader.flag()? {
            for _ in 0..self.spatial_layers() {
                let size = (reader.read(16)? + 1, reader.read(16)? + 1);
                self.resolutions.push(size);
            }
        }
        Some(())
    }

    /// `template_layers`: each template says where the next one is.
    fn read_layers(&mut self, reader: &mut BitReader<'_>) -> Option<()> {
        let mut template = Template::default();
        loop {
            if self.templates.len() == TEMPLATES_MAX {
                return None;
            }
            self.templates.push(template);
            match reader.read(2)? {
                0 => {}
                1 => template.temporal += 1,
                2 => {
                    template.spatial += 1;
                    template.temporal = 0;
                }
                _ => return Some(()),
            }
            if template.spatial >= SPATIAL_LAYERS_MAX || template.temporal >= TEMPORAL_LAYERS_MAX {
                return None;
            }
        }
    }

    fn read_chains(&mut self, reader: &mut BitReader<'_>) -> Option<()> {
        self.chain_count = reader.non_symmetric(u32::from(self.target_count) + 1)? as u8;
        if self.chain_count == 0 {
            return Some(());
        }
        let (targets, chains) = (self.target_count(), self.chain_count());
        for chain in self.protected_by.iter_mut().take(targets) {
            *chain = reader.non_symmetric(u32::from(self.chain_count))? as u8;
        }
        for template in &mut self.templates {
            for diff in template.chain_diffs.iter_mut().take(chains) {
                *diff = reader.read(4)? as u8;
            }
        }
        Some(())
    }

    fn find_target_layers(&mut self) {
        for (target, layers) in self.target_layers.iter_mut().enumerate() {
            for template in &self.templates {
                if template.indications.includes(target) {
                    layers.0 = layers.0.max(template.spatial);
                    layers.1 = layers.1.max(template.temporal);
                }
            }
        }
    }

    /// Writes the structure as [`Self::read`] reads it.
    pub(super) fn write(&self, out: &mut BitWriter<'_>) -> Option<()> {
        out.write(6, u32::from(self.template_id_offset))?;
        out.write(5, u32::from(self.target_count) - 1)?;
        for (index, template) in self.templates.iter().enumerate() {
            let next = match self.templates.get(index + 1) {
                None => 3,
                Some(next) if next.spatial != template.spatial => 2,
                Some(next) if next.temporal != template.temporal => 1,
                Some(_) => 0,
            };
            out.write(2, next)?;
        }
        for template in &self.templates {
            for target in 0..self.target_count() {
                out.write(2, template.indications.get(target) as u32)?;
            }
        }
        for template in &self.templates {
            for &diff in template.frame_diffs.as_slice() {
                out.flag(true)?;
                out.write(4, u32::from(diff) - 1)?;
            }
            out.flag(false)?;
        }
        self.write_chains(out)?;
        out.flag(!self.resolutions.is_empty())?;
        for &(width, height) in &self.resolutions {
            out.write(16, width - 1)?;
            out.write(16, height - 1)?;
        }
        Some(())
    }

    fn write_chains(&self, out: &mut BitWriter<'_>) -> Option<()> {
        out.non_symmetric(u32::from(self.target_count) + 1, u32::from(self.chain_count))?;
        if self.chain_count == 0 {
            return Some(());
        }
        for &chain in self.protected_by.iter().take(self.target_count()) {
            out.non_symmetric(u32::from(self.chain_count), u32::from(chain))?;
        }
        for template in &self.templates {
            for &diff in template.chain_diffs.iter().take(self.chain_count()) {
                out.write(4, u32::from(diff))?;
            }
        }
        Some(())
    }
}
