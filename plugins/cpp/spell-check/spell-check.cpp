// Finds the words of the text that are not in the word list, and suggests the nearest ones.
//
// Payload: the word list, a word a line; an empty line; the text. Output: a line for each unknown
// word, in the order of their first use: the word, a tab, up to three suggestions.
#include <algorithm>
#include <cctype>
#include <iostream>
#include <numeric>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t max_suggestions = 3;
constexpr std::size_t max_distance = 2;
// Longer runs of letters are not words, and comparing them takes quadratic time.
constexpr std::size_t max_word = 64;
constexpr int bad_data = 65;  // EX_DATAERR of sysexits.h

// Levenshtein's distance: how many letters to insert, delete or replace. One row of its table.
std::size_t distance(std::string_view a, std::string_view b)
{
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), 0);
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
        }
    }
    return row.back();
}

std::vector<std::string> suggestions(const std::set<std::string>& known, const std::string& word)
{
    std::vector<std::pair<std::size_t, std::string>> near;
    for (const auto& candidate : known) {
        const auto [shorter, longer] = std::minmax(candidate.size(), word.size());
        if (longer - shorter > max_distance)
            continue;
        if (const auto d = distance(word, candidate); d <= max_distance)
            near.emplace_back(d, candidate);
    }
    std::ranges::sort(near);
    near.resize(std::min(near.size(), max_suggestions));
    std::vector<std::string> words;
    for (auto& [_, candidate] : near)
        words.push_back(std::move(candidate));
    return words;
}

std::set<std::string> read_known(std::istream& in)
{
    std::set<std::string> known;
    for (std::string line; std::getline(in, line) && !line.empty();)
        known.insert(line);
    return known;
}

// The next run of letters, in lower case; empty at the end.
std::string next_word(std::istream& in)
{
    std::string word;
    for (char c; in.get(c);) {
        if (std::isalpha(static_cast<unsigned char>(c)))
            word += static_cast<char>(std::tolower(c));
        else if (!word.empty())
            break;
    }
    return word;
}

}  // namespace

int main()
{
    std::ios::sync_with_stdio(false);
    const auto known = read_known(std::cin);
    if (known.empty() || !std::cin) {
        std::cerr << "the payload must be a word list, an empty line and the text to check\n";
        return bad_data;
    }
    std::set<std::string> reported;
    for (auto word = next_word(std::cin); !word.empty(); word = next_word(std::cin)) {
        if (word.size() > max_word || known.contains(word) || !reported.insert(word).second)
            continue;
        std::cout << word;
        char separator = '\t';
        for (const auto& suggestion : suggestions(known, word))
            std::cout << std::exchange(separator, ' ') << suggestion;
        std::cout << '\n';
    }
    std::cerr << known.size() << " words known, " << reported.size() << " unknown\n";
}
