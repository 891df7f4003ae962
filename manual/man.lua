-- How pandoc makes a man page of a page of the reference.

-- What is to be typed is bold, as man pages have it.
function Code(code)
  return pandoc.Strong(code.text)
end

-- An item that begins with a line of its own is a term and what is said about it.
function BulletList(list)
  local items = {}
  for _, blocks in ipairs(list.content) do
    local term, text, is_term = {}, {}, true
    for _, inline in ipairs(blocks[1].content) do
      if is_term and inline.t == "LineBreak" then
        is_term = false
      else
        table.insert(is_term and term or text, inline)
      end
    end
    if is_term then
      return list
    end
    blocks[1] = pandoc.Para(text)
    table.insert(items, { term, { blocks } })
  end
  return pandoc.DefinitionList(items)
end
